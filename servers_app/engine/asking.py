"""What a llama-server prints when it is asked about itself; nothing of it stays behind.

Whatever a path in the settings names is run here for the first time. It may be no program,
wait for ever, or print without end.
"""

import os
import selectors
import signal
import subprocess
import time
from contextlib import suppress
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from servers_app.engine.binary import Engine
from servers_app.errors import EngineError, EngineSilentError

ANSWER_TIMEOUT_S = 10.0  # others wait for the database for 20
MAX_BYTES: Final = 2**20  # the help of build 11434 has 60 KB
MAX_TAIL_CHARS: Final = 300

# Never handed to llama-server: what would change its behaviour behind our back
# (it honours LLAMA_ARG_PORT and LLAMA_API_KEY), and what is none of its business.
SCRUBBED_PREFIXES: Final = ("LLAMA_", "MAGI_", "MODEL_", "DJANGO_", "CELERY_")
SCRUBBED_WORDS: Final = ("TOKEN", "SECRET", "PASSWORD", "API_KEY", "DATABASE_URL", "REDIS_URL")

_WHAT_TO_DO = "Mend it, or set LLAMA_SERVER_PATH or the profile's engine to another one."


class Answer(NamedTuple):
    """What it printed. Bytes that are no text are replaced."""

    stdout: str
    stderr: str


class _Unfit(Exception):
    """It did not answer; the message goes on after what was tried."""


class _Silent(_Unfit):
    """It was killed, or took too long."""


def ask(engine: Engine, flag: str) -> Answer:
    """Run `engine` with one flag that ends it, and return what it printed.

    Raises:
        EngineError: it cannot be run, ended with an error, or printed more than a
            llama-server does. The message says what was tried, and what to do.
        EngineSilentError: it was killed, or did not end in time.
    """
    try:
        return _ask(engine, flag)
    except _Unfit as error:
        program = "the embedded engine" if engine.is_embedded else engine.command[0]
        msg = f"Asked for its {flag}, {program} {error}. {_WHAT_TO_DO}"
        raise (EngineSilentError if isinstance(error, _Silent) else EngineError)(msg) from error


def _ask(engine: Engine, flag: str) -> Answer:
    with TemporaryDirectory(prefix="magi-ask-") as config:
        try:
            process = subprocess.Popen(
                [*engine.command, flag],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=scrubbed_environment() | {"XDG_CONFIG_HOME": config},
                cwd=engine.cwd,
                start_new_session=True,
            )
        except OSError as error:
            msg = f"could not be run ({error.strerror})"
            raise _Unfit(msg) from error
        with process:
            try:
                answer = _read(process)
            except BaseException:
                # Not waited for yet, so that its id, and its group's, is still its own.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
    if process.returncode != 0:
        said = " ".join((answer.stderr or answer.stdout).split())[-MAX_TAIL_CHARS:]
        msg = f"ended with {process.returncode}: {said or 'it said nothing'}"
        raise (_Silent if process.returncode == -signal.SIGKILL else _Unfit)(msg)
    return answer


def _read(process: "subprocess.Popen[bytes]") -> Answer:
    """Return what `process` prints until it has ended."""
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe is not None]
    printed = {pipe.fileno(): bytearray() for pipe in pipes}
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise _Silent(_TOO_LATE.format(ANSWER_TIMEOUT_S))
            for key, _ in ready:
                piece = os.read(key.fd, 2**16)
                if not piece:
                    selector.unregister(key.fileobj)
                printed[key.fd] += piece
                if len(printed[key.fd]) > MAX_BYTES:
                    msg = f"printed more than {MAX_BYTES // 2**20} MiB, as no llama-server does"
                    raise _Unfit(msg)
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise _Silent(_TOO_LATE.format(ANSWER_TIMEOUT_S)) from error
    stdout, stderr = (bytes(text).decode(errors="replace") for text in printed.values())
    return Answer(stdout, stderr)


_TOO_LATE = "did not end within {:g} s"


def scrubbed_environment() -> dict[str, str]:
    """Return of our environment what a llama-server may have."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(SCRUBBED_PREFIXES)
        and not any(word in name for word in SCRUBBED_WORDS)
    }
