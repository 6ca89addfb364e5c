"""Read headers in a process of its own, ahead of the scan that asks for them.

Half of a first scan is headers, and the other half what is made of them: two processors do
both in the time of one. `python -m models_app.readahead` is that process: a path a line in,
a header a line out, both as JSON. It ends when its input does, so it outlives nobody.
"""

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

from models_app.errors import GGUFError
from models_app.gguf import fetch_header, read_gguf
from models_app.gguf_info import GGUFInfo

MIN_FILES = 300  # fewer are read before a process has started
AHEAD_FILES = 256
AHEAD_BYTES = 48 * 1024  # of paths on their way: any pipe takes 64 KiB before it blocks
PIPE_BYTES = 2**20  # asked for, so that the other goes on while rows are written here
END_TIMEOUT_S = 5.0

_FIELDS = tuple(field.name for field in fields(GGUFInfo))


class HeaderReader:
    """Gives the headers of `paths`, each of them once, asked for roughly in their order."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._next = deque(paths)
        self._process: subprocess.Popen[str] | None = None
        self._sent: dict[str, None] = {}  # on their way, in order
        self._bytes = 0  # of what is on its way
        self._answers: dict[str, Any] = {}  # that came before they were asked for
        if len(self._next) >= MIN_FILES and (os.cpu_count() or 1) > 1:
            self._process = _start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._end()

    def read(self, path: Path) -> GGUFInfo:
        """Return a header; what the other process has not read is read in this one.

        Raises: as read_gguf.
        """
        self._go_ahead()
        name = str(path)
        while name in self._sent:
            self._receive()
        answer = self._answers.pop(name, None)
        return read_gguf(path) if answer is None else _header(path, answer)

    def _go_ahead(self) -> None:
        """Have the kernel, and the other process if there is one, read what comes next."""
        while self._next and len(self._sent) < AHEAD_FILES and self._bytes < AHEAD_BYTES:
            path = self._next.popleft()
            fetch_header(path)
            self._sent[str(path)] = None
            self._bytes += len(str(path))
            if self._process is not None:
                self._send(str(path))

    def _send(self, name: str) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(json.dumps(name) + "\n")
            self._process.stdin.flush()
        except OSError:
            self._end()

    def _receive(self) -> None:
        name = next(iter(self._sent))
        del self._sent[name]
        self._bytes -= len(name)
        if self._process is None or self._process.stdout is None:
            return
        line = self._process.stdout.readline()
        if line.endswith("\n"):
            self._answers[name] = json.loads(line)
        else:
            self._end()  # it has died: the rest is read here

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()  # it only reads
        with suppress(OSError, subprocess.TimeoutExpired):
            process.communicate(timeout=END_TIMEOUT_S)


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "models_app.readahead"],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        pipesize=PIPE_BYTES,
    )


def _header(path: Path, answer: Any) -> GGUFInfo:
    """Return the header that an answer is, or raise the error."""
    match answer:
        case {"reason": str(reason)}:
            raise GGUFError(path, reason)
        case {"errno": int(number), "strerror": str(text)}:
            raise OSError(number, text)
        case _:
            return GGUFInfo(**answer)


def _answer(path: Path) -> dict[str, Any]:
    try:
        info = read_gguf(path)
    except GGUFError as error:
        return {"reason": error.reason}
    except OSError as error:
        return {"errno": error.errno or 0, "strerror": error.strerror or str(error)}
    return {name: getattr(info, name) for name in _FIELDS}


def main() -> None:
    with suppress(BrokenPipeError, KeyboardInterrupt):
        for line in sys.stdin:
            sys.stdout.write(json.dumps(_answer(Path(json.loads(line)))) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
