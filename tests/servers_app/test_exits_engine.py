"""What the real engine, the real linker and the real kernel make of a server, explained."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from servers_app.exits import Cause, Ending, explain
from tests.models_app.ggufs import I32, TEXT_MODEL, U16, Typed, write_gguf

ROOT = Path(__file__).parents[2]
ENGINE = (sys.executable, "-m", "servers_app.engine.embedded")
SMALL = ("--ctx-size", "512", "--parallel", "1", "--threads", "1")
HUGE = ("--ctx-size", "262144", "--parallel", "8", "--threads", "1")  # 6 GB of cache
LIMIT_KIB = 2_000_000  # of address space
WATCHDOG_S = 120
MIB = 2**20

Serve = Callable[..., Ending]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


@pytest.fixture
def served(log: Path, smollm2: Path, free_port: Callable[[], int]) -> Serve:
    """Return a function that serves until that ends, and has it explained."""

    def serve(*flags: str, model: Path = smollm2, port: int = 0, **options: Any) -> Ending:
        server = ("--model", str(model), "--port", str(port or free_port()))
        with log.open("wb") as output:
            done = subprocess.run(
                [*options.get("through", ()), *ENGINE, *server, *SMALL, *flags],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                timeout=WATCHDOG_S,
                check=False,
            )
        return explain(done.returncode, log.read_text(errors="replace"))

    return serve


def shard(path: Path, number: int, count: int) -> Path:
    split = {
        "split.no": Typed(U16, number),
        "split.count": Typed(U16, count),
        "split.tensors.count": Typed(I32, 2),
    }
    return write_gguf(path, {**TEXT_MODEL, **split})


def test_a_missing_file_is_named(served: Serve, tmp_path: Path) -> None:
    missing = tmp_path / "it's gone (1).gguf"

    ending = served(model=missing)

    assert (ending.cause, ending.is_permanent) == (Cause.FILE_MISSING, True)
    assert f"{missing} cannot be opened: No such file or directory." in ending.sentence


def test_junk_is_told_from_gguf(served: Serve, tmp_path: Path) -> None:
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"junk of a file")

    ending = served(model=junk)

    assert (ending.cause, ending.is_permanent) == (Cause.NOT_GGUF, True)
    assert str(junk) in ending.sentence


@pytest.mark.parametrize(
    "size_bytes", [pytest.param(MIB, id="in its header"), pytest.param(60 * MIB, id="halfway")]
)
def test_a_file_that_is_cut_is_named(
    served: Serve, tmp_path: Path, smollm2: Path, size_bytes: int
) -> None:
    cut = tmp_path / "cut.gguf"
    with smollm2.open("rb") as whole:
        cut.write_bytes(whole.read(size_bytes))

    ending = served(model=cut)

    assert (ending.cause, ending.is_permanent) == (Cause.TRUNCATED, True)
    assert f"not all there: {cut}." in ending.sentence


def test_an_unknown_flag_is_named(served: Serve) -> None:
    ending = served("--no-mmap")

    assert (ending.cause, ending.is_permanent) == (Cause.UNKNOWN_FLAG, True)
    assert "does not know --no-mmap." in ending.sentence


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--batch-size", "x"], "wants a number for --batch-size"),
        (["--flash-attn", "maybe"], "what --flash-attn is given: unknown value 'maybe', use "),
        (["--flash-attn"], "what --flash-attn is given: expected value for argument."),
    ],
)
def test_a_bad_value_is_named_with_its_flag(served: Serve, flags: list[str], told: str) -> None:
    ending = served(*flags)

    assert (ending.cause, ending.is_permanent) == (Cause.BAD_VALUE, True)
    assert told in ending.sentence


def test_a_taken_port_is_named_and_may_be_free_the_next_time(served: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        ending = served(port=port)

    assert (ending.cause, ending.is_permanent) == (Cause.PORT_TAKEN, False)
    assert f"Port {port} is taken" in ending.sentence


def test_a_missing_part_of_a_model_is_named(served: Serve, tmp_path: Path) -> None:
    first = shard(tmp_path / "m-00001-of-00002.gguf", 0, 2)

    ending = served(model=first)

    assert (ending.cause, ending.is_permanent) == (Cause.SHARD_MISSING, True)
    assert str(tmp_path / "m-00002-of-00002.gguf") in ending.sentence


@pytest.mark.parametrize(
    ("name", "number", "told"),
    [
        pytest.param("m-00002-of-00002.gguf", 1, "is not the first part", id="the second"),
        pytest.param("renamed.gguf", 0, "its name does not say which", id="another name"),
    ],
)
def test_a_part_that_cannot_be_loaded_by_itself_is_named(
    served: Serve, tmp_path: Path, name: str, number: int, told: str
) -> None:
    part = shard(tmp_path / name, number, 2)

    ending = served(model=part)

    assert (ending.cause, ending.is_permanent) == (Cause.WRONG_SHARD, True)
    assert str(part) in ending.sentence
    assert told in ending.sentence


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        pytest.param({"general.architecture": "llama9"}, "does not know llama9", id="new"),
        pytest.param({}, "key not found in model: llama.attention.layer_norm", id="odd"),
    ],
)
def test_a_model_that_the_build_cannot_load_is_told(
    served: Serve, tmp_path: Path, metadata: dict[str, str], told: str
) -> None:
    model = write_gguf(tmp_path / "model.gguf", {**TEXT_MODEL, **metadata})

    ending = served(model=model)

    assert (ending.cause, ending.is_permanent) == (Cause.UNSUPPORTED_MODEL, True)
    assert told in ending.sentence


def test_a_projector_that_is_none_is_named(served: Serve, smollm2: Path) -> None:
    ending = served("--mmproj", str(smollm2))

    assert (ending.cause, ending.is_permanent) == (Cause.PROJECTOR, True)
    assert str(smollm2) in ending.sentence


def test_an_adapter_that_is_none_is_named(served: Serve, tmp_path: Path) -> None:
    junk = tmp_path / "lora.gguf"
    junk.write_bytes(b"junk")

    ending = served("--lora", str(junk))

    assert (ending.cause, ending.is_permanent) == (Cause.ADAPTER, True)
    assert str(junk) in ending.sentence


def test_a_missing_draft_model_is_named(served: Serve, tmp_path: Path) -> None:
    draft = tmp_path / "draft.gguf"

    ending = served("--model-draft", str(draft), "--spec-type", "draft-simple")

    assert ending.cause == Cause.FILE_MISSING
    assert f"{draft} cannot be opened" in ending.sentence


def test_a_template_that_cannot_be_parsed_is_told(served: Serve) -> None:
    ending = served("--chat-template", "{% if %}")

    assert (ending.cause, ending.is_permanent) == (Cause.TEMPLATE, True)
    assert "Unexpected token" in ending.sentence
    assert "--chat-template chatml" in ending.sentence


def test_too_little_memory_is_told_with_how_much_was_asked_for(served: Serve) -> None:
    limited = ("/bin/sh", "-c", f'ulimit -v {LIMIT_KIB}; exec "$@"', "sh")

    ending = served(*HUGE, through=limited)

    assert (ending.cause, ending.is_permanent) == (Cause.OUT_OF_MEMORY, False)
    assert "(attempted to allocate " in ending.sentence
    assert "ctx_size" in ending.sentence


@pytest.mark.parametrize(
    ("number", "cause"),
    [(signal.SIGKILL, Cause.KILLED), (signal.SIGTERM, Cause.STOPPED)],
)
def test_somebody_elses_signal_while_it_loads_is_told(
    log: Path, smollm2: Path, free_port: Callable[[], int], number: int, cause: Cause
) -> None:
    server = ("--model", str(smollm2), "--port", str(free_port()))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*ENGINE, *server, *SMALL], cwd=ROOT, stdout=output, stderr=output
        )
    deadline = time.monotonic() + WATCHDOG_S
    while "loading model" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)

    os.kill(process.pid, number)

    ending = explain(process.wait(WATCHDOG_S), log.read_text())
    assert (ending.cause, ending.is_permanent) == (cause, False)


def test_a_file_that_is_cut_under_a_server_is_suspected_of_its_crash(
    log: Path, tmp_path: Path, smollm2: Path, free_port: Callable[[], int]
) -> None:
    model, port = tmp_path / "model.gguf", free_port()
    shutil.copy(smollm2, model)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*ENGINE, "--model", str(model), "--port", str(port), *SMALL],
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
    deadline = time.monotonic() + WATCHDOG_S
    while "listening on" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)

    os.truncate(model, MIB)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WATCHDOG_S)
    with closing(connection), suppress(ConnectionError):
        connection.request("POST", "/completion", json.dumps({"prompt": "Hello"}))
        connection.getresponse()

    ending = explain(process.wait(WATCHDOG_S), log.read_text(), was_ready=True)
    assert (ending.cause, ending.is_permanent) == (Cause.CRASHED, False)
    assert "crashed (SIGBUS), and its log does not say why." in ending.sentence
    assert "Its model file was cut" in ending.sentence


@pytest.mark.skipif(sys.platform != "linux", reason="the message is glibc's")
def test_a_missing_library_is_named(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    shutil.copy(shutil.which("true") or "/bin/true", program)
    program.write_bytes(program.read_bytes().replace(b"libc.so.6", b"libq.so.6"))

    done = subprocess.run([program], capture_output=True, text=True, check=False)

    ending = explain(done.returncode, done.stderr)
    assert (ending.cause, ending.is_permanent) == (Cause.LIBRARY, True)
    assert "libq.so.6: cannot open shared object file" in ending.sentence


def test_a_script_whose_program_is_gone_is_told_and_not_tried_again(tmp_path: Path) -> None:
    script = f"exec {tmp_path}/llama-server"

    done = subprocess.run(
        ["/bin/sh", "-c", script], capture_output=True, text=True, check=False
    )

    ending = explain(done.returncode, done.stderr)
    assert (ending.cause, ending.is_permanent) == (Cause.OTHER, True)
    assert "ended with code 127: " in ending.sentence
    assert "not found" in ending.sentence
