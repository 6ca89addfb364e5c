"""Headers that another process reads ahead: the same as if they were read here."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from models_app import readahead
from models_app.discovery import DIRECTORY, Discovery
from models_app.errors import GGUFError
from models_app.gguf import read_gguf
from models_app.readahead import HeaderReader
from tests.models_app.ggufs import write_gguf
from tests.models_app.scans import scan, write_shards

FILES = 40
PATIENCE_S = 20


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Models, and files that are none, enough of them for another process."""
    monkeypatch.setattr(readahead, "MIN_FILES", 10)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    made = [write_gguf(tmp_path / f"Qwen3-{n}B-Q4_0.gguf") for n in range(1, FILES)]
    made[3].write_bytes(b"a shopping list")
    made[7].write_bytes(made[6].read_bytes()[:100])
    return made


def outcome(reader: HeaderReader, path: Path) -> object:
    try:
        return reader.read(path)
    except GGUFError as error:
        return error.reason
    except OSError as error:
        return error.errno


def process_of(reader: HeaderReader) -> psutil.Process:
    assert reader._process is not None
    return psutil.Process(reader._process.pid)


def test_every_header_and_every_error_is_what_it_would_be_here(paths: list[Path]) -> None:
    gone = paths[11]
    gone.unlink()
    here = [outcome(HeaderReader([]), path) for path in paths]

    with HeaderReader(paths) as reader:
        process = process_of(reader)
        assert [outcome(reader, path) for path in paths] == here

    assert not process.is_running()


def test_headers_may_be_asked_for_in_another_order_and_not_at_all(paths: list[Path]) -> None:
    with HeaderReader(paths) as reader:
        assert reader.read(paths[9]) == read_gguf(paths[9])
        assert reader.read(paths[0]) == read_gguf(paths[0])
        assert reader.read(paths[-1]) == read_gguf(paths[-1])


def test_a_process_that_dies_is_done_without(paths: list[Path]) -> None:
    with HeaderReader(paths) as reader:
        reader.read(paths[0])
        process_of(reader).kill()
        headers = [outcome(reader, path) for path in paths[1:]]

    assert headers == [outcome(HeaderReader([]), path) for path in paths[1:]]


@pytest.mark.parametrize("cores", [1, 2])
def test_few_files_and_one_core_want_no_process(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    few = paths[:5] if cores > 1 else paths

    with HeaderReader(few) as reader:
        assert reader._process is None
        assert reader.read(few[0]) == read_gguf(few[0])


def test_a_long_path_never_fills_the_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readahead, "MIN_FILES", 10)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(readahead, "PIPE_BYTES", -1)  # as where the system has no say
    deep = tmp_path.joinpath(*(letter * 200 for letter in "abcdefghij"))
    paths = [write_gguf(deep / f"Qwen3-{n}B-Q4_0.gguf") for n in range(1, 400)]

    with HeaderReader(paths) as reader:
        assert all(reader.read(path).architecture for path in paths)


def test_a_scan_that_is_killed_leaves_no_reader_behind(paths: list[Path]) -> None:
    script = f"""
        import os, sys, time
        from pathlib import Path
        from models_app import readahead
        readahead.MIN_FILES = 1
        os.cpu_count = lambda: 2
        reader = readahead.HeaderReader([Path({str(paths[0])!r})] * 2)
        reader.read(Path({str(paths[0])!r}))
        print(reader._process.pid, flush=True)
        time.sleep(60)
    """
    scan = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    with scan:
        assert scan.stdout is not None
        reader = psutil.Process(int(scan.stdout.readline()))
        scan.send_signal(signal.SIGKILL)

    deadline = time.monotonic() + PATIENCE_S
    while reader.is_running() and reader.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the reader is still there"
        time.sleep(0.02)


def test_a_scan_finds_the_same_with_it_and_without(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(tmp_path / "split", [1, 2, 3])
    write_shards(tmp_path / "lost", [2, 3])
    with_it = scan(tmp_path, DIRECTORY)
    monkeypatch.setattr(readahead, "MIN_FILES", 10_000)
    without = scan(tmp_path, DIRECTORY)

    def told(found: Discovery) -> tuple[object, ...]:
        return found.models, found.skipped, found.known_skips, found.files_seen

    assert told(with_it) == told(without)
