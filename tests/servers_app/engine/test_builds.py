"""A llama-server is asked once what it can do, and again when it is another one."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from django.core.checks import run_checks
from pytest_django import DjangoAssertNumQueries, Settings

from servers_app.engine import asking, builds
from servers_app.engine.binary import Engine, find_engine
from servers_app.engine.builds import capabilities
from servers_app.engine.capabilities import EMBEDDED, Device
from servers_app.errors import EngineError
from servers_app.models import EngineBuild
from tests.servers_app.engine.conftest import MakeProgram

pytestmark = pytest.mark.django_db

ONCE = ["--help", "--list-devices", "--version"]


def engine_at(path: Path) -> Engine:
    return Engine((str(path),))


def another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "_known", {})


def test_a_build_says_what_it_is_and_what_it_can_do(old_engine: Engine) -> None:
    known = capabilities(old_engine)

    assert (known.version.build, known.version.commit) == (6000, "8ad7b3e6")
    assert known.flags["--lora-scaled"] == "FNAME SCALE"
    assert known.devices == [Device("CUDA0", "NVIDIA A", 16379, 14900)]
    row = EngineBuild.objects.get()
    assert (row.node, row.path, row.build) == ("local", old_engine.command[0], 6000)
    assert row.devices[0]["total_mib"] == 16379


def test_the_embedded_engine_says_so_too() -> None:
    known = capabilities(find_engine("embedded"))

    assert known.path == EMBEDDED
    assert known.version.build is not None
    assert known.version.build > 11434
    assert known.flags["--flash-attn"] == "[on|off|auto]"
    assert known.takes_word("--n-gpu-layers", "all")
    assert known.takes_word("--spec-type", "draft-simple")
    assert EngineBuild.objects.get().path == EMBEDDED


def test_it_is_asked_once_in_a_process(
    old_engine: Engine, asked: Callable[[], list[str]]
) -> None:
    for _ in range(5):
        capabilities(old_engine)

    assert sorted(asked()) == ONCE


def test_another_process_reads_what_the_first_one_was_told(
    old_engine: Engine,
    asked: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = capabilities(old_engine)
    another_process(monkeypatch)

    read = capabilities(old_engine)

    assert read == told
    assert sorted(asked()) == ONCE


def test_what_is_known_costs_no_query(
    old_engine: Engine, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    capabilities(old_engine)

    with django_assert_num_queries(0):
        capabilities(old_engine)


@pytest.mark.parametrize("change", ["its size", "its time"])
def test_it_is_asked_again_when_its_file_has_changed(
    old_engine: Engine, asked: Callable[[], list[str]], change: str
) -> None:
    path = Path(old_engine.command[0])
    capabilities(old_engine)
    before = path.stat()
    if change == "its size":
        path.write_text(
            path.read_text().replace("version: 6000 (8ad7b3e6)", "version: 99 (ab)")
        )
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        path.write_text(path.read_text().replace("version: 6000", "version: 7000"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))

    known = capabilities(old_engine)

    assert known.version.build == (99 if change == "its size" else 7000)
    assert sorted(asked()) == sorted(ONCE * 2)
    assert EngineBuild.objects.get().build == known.version.build


def test_the_embedded_engine_is_asked_again_when_its_wheel_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = find_engine("embedded")
    capabilities(engine)
    EngineBuild.objects.update(version="2026.9.1 (build 1, commit unknown)", build=1)
    another_process(monkeypatch)

    assert capabilities(engine).version.build != 1


def test_many_threads_ask_it_once(
    old_engine: Engine, asked: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without rows: SQLite in memory is one connection.
    monkeypatch.setattr(builds, "_remembered", lambda _file: None)
    monkeypatch.setattr(builds, "_remember", lambda _file, **_columns: None)
    threads = [threading.Thread(target=capabilities, args=[old_engine]) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(asked()) == ONCE


def test_it_is_told_nothing_of_ours(
    make_program: MakeProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_ARG_PORT", "1")
    monkeypatch.setenv("MAGI_SECRET_KEY", "s3cret")
    monkeypatch.setenv("HF_TOKEN", "s3cret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    told = tmp_path / "told"
    program = make_program(f"env > {told}; ls -A $XDG_CONFIG_HOME >> {told}; cat >> {told}")

    with pytest.raises(EngineError):
        capabilities(engine_at(program))

    text = told.read_text()
    assert "CUDA_VISIBLE_DEVICES=1" in text
    assert not any(word in text for word in ("LLAMA_", "MAGI_", "s3cret", "llama.cpp"))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param("true", "lists no --model", id="prints nothing"),
        pytest.param(
            "echo lib.so: cannot open >&2; exit 127", "127: lib.so: cannot", id="fails"
        ),
        pytest.param("exit 3", "ended with 3: it said nothing", id="fails silently"),
        pytest.param("kill -SEGV $$", "ended with -11", id="crashes"),
        pytest.param("exec ls --help", "lists no --model", id="is something else"),
        pytest.param("#!/no/such/python", "No such file or directory", id="has no interpreter"),
        pytest.param("#!\0\x7fELF", "could not be run", id="is no program"),
        pytest.param("exec yes", "more than 1 MiB", id="prints without end"),
        pytest.param("exec yes >&2", "more than 1 MiB", id="complains without end"),
        pytest.param("printf '\\377\\376\\200'; exit 1", "ended with 1: \ufffd", id="no text"),
    ],
)
def test_what_is_no_llama_server_is_told_with_what_to_do(
    make_program: MakeProgram, script: str, words: str
) -> None:
    program = make_program(script)

    with pytest.raises(EngineError) as caught:
        capabilities(engine_at(program))

    message = str(caught.value)
    assert words in message
    assert str(program) in message
    assert "--help" in message
    assert "LLAMA_SERVER_PATH" in message
    assert EngineBuild.objects.get().problem == message


def test_one_that_goes_away_is_told_of(old_engine: Engine) -> None:
    capabilities(old_engine)
    Path(old_engine.command[0]).unlink()

    with pytest.raises(EngineError, match="has gone"):
        capabilities(old_engine)


def test_one_that_is_mended_is_asked_again_though_its_file_is_the_same(
    make_program: MakeProgram, tmp_path: Path, old_engine: Engine
) -> None:
    library = tmp_path / "libllama.so"
    program = make_program(f'[ -e {library} ] && exec {old_engine.command[0]} "$@"; exit 127')
    with pytest.raises(EngineError, match="127"):
        capabilities(engine_at(program))
    library.touch()

    known = capabilities(engine_at(program))

    assert known.version.build == 6000
    assert EngineBuild.objects.get(path=str(program)).problem == ""


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ANSWER_TIMEOUT_S", 0.3)


@pytest.fixture
def sleeps() -> Iterator[str]:
    """A number of seconds that no other `sleep` has; none of ours is left behind."""
    seconds = f"3{os.getpid()}"
    yield seconds
    left = [
        process
        for process in psutil.process_iter(["cmdline"])
        if process.info["cmdline"] == ["sleep", seconds]
        and process.status() != psutil.STATUS_ZOMBIE
    ]
    for process in left:
        process.send_signal(signal.SIGKILL)
    assert not left


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("exec sleep {}", id="hangs"),
        pytest.param("trap '' TERM; sleep {}", id="hangs and does not care"),
        pytest.param("sleep {} & exit 0", id="leaves a child that holds its output"),
        pytest.param("exec >/dev/null 2>&1; sleep {}", id="says nothing more, and stays"),
    ],
)
@pytest.mark.usefixtures("hasty")
def test_one_that_hangs_is_given_up_and_leaves_nothing_behind(
    make_program: MakeProgram, script: str, sleeps: str
) -> None:
    program = make_program(script.format(sleeps))

    with pytest.raises(EngineError, match=r"--help, .* did not end within 0\.3 s"):
        capabilities(engine_at(program))


def test_the_check_warns_of_a_build_that_a_file_can_break(
    settings: Settings, old_engine: Engine
) -> None:
    settings.LLAMA_SERVER_PATH = old_engine.command[0]
    settings.LLAMA_SERVER_BUILDS = {}

    found = [message for message in run_checks() if message.id == "servers_app.W004"]

    assert len(found) == 1
    assert "Build 6000 is older than 8146" in found[0].msg


def test_the_check_names_builds_that_are_not_there(settings: Settings, tmp_path: Path) -> None:
    settings.LLAMA_SERVER_BUILDS = {"cuda": tmp_path / "gone", "old": tmp_path}

    found = {message.msg for message in run_checks() if message.id == "servers_app.W002"}

    assert found == {
        f"LLAMA_SERVER_BUILDS: cuda={tmp_path}/gone is not there. "
        "Correct the path, or take it off.",
        f"LLAMA_SERVER_BUILDS: old={tmp_path} is not a program that can be run. "
        "Give the path of llama-server itself, and make it executable: chmod +x.",
    }


def test_the_check_tells_of_one_that_cannot_be_asked(
    settings: Settings, make_program: MakeProgram
) -> None:
    settings.LLAMA_SERVER_PATH = str(make_program("exit 127"))

    found = [message for message in run_checks() if message.id == "servers_app.W003"]

    assert len(found) == 1
    assert "ended with 127" in found[0].msg
