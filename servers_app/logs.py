"""The log of each server: read, followed, and turned over when it is long.

`MAGI_DATA_DIR/servers/ID/server.log` holds what llama-server and its keeper write, with a
line before each launch; `.1` and `.2` are the logs before it. It is turned over by copying
and truncating, because the server keeps its file open for as long as it runs; it appends
(O_APPEND), so what it writes next is at the new end. Who reads or turns over has a lock
(flock) on server.log meanwhile, which the server knows nothing of.

What is read is fit to be shown: no escape sequences, no key, no line without an end.
"""

import errno
import fcntl
import logging
import os
import re
import shlex
import shutil
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Final, NamedTuple

from django.conf import settings

from servers_app.keys import server_key
from servers_app.printable import printable

logger = logging.getLogger(__name__)

MAX_LOG_BYTES = 10 * 2**20  # past this it is turned over
MAX_LINE_CHARS = 4000
MAX_TAIL_BYTES = 4 * 2**20
LAUNCH_BYTES = 256 * 1024  # of what the last launch wrote
BLOCK_BYTES = 64 * 1024
POLL_S = 0.25

_LAUNCHED: Final = re.compile(r"--- launched \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ: .* ---")
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def server_dir(server_id: int) -> Path:
    return Path(settings.MAGI_DATA_DIR) / "servers" / str(server_id)


def log_path(server_id: int) -> Path:
    return server_dir(server_id) / "server.log"


def tail(server_id: int, lines: int) -> str:
    """Return the last `lines` of a server's log and those before it, at most 4 MiB of them.

    Empty if there is no log. Bytes that are no text are replaced.
    """
    with _reading(server_id) as log:
        data = _last(server_id, log, lines, MAX_TAIL_BYTES)
    found = data.removesuffix(b"\n").split(b"\n")
    return "\n".join(_shown(server_id, found[max(0, len(found) - lines) :]))


def whole(server_id: int) -> Generator[str, None, None]:
    """Yield all that is kept of a server's log, oldest first, in pieces of whole lines.

    The log before the last two turns is gone. A turn meanwhile ends it: what came after is
    in the next call.
    """
    path = log_path(server_id)
    first, second = _earlier(path)
    with ExitStack() as opened:
        files = []
        with _reading(server_id):  # all three as they are at one moment
            for each in (second, first, path):
                with suppress(FileNotFoundError):
                    files.append(opened.enter_context(each.open("rb")))
        rest = b""
        for file in files:
            while block := file.read(BLOCK_BYTES):
                *lines, rest = (rest + block).split(b"\n")
                if lines:
                    yield "".join(f"{line}\n" for line in _shown(server_id, lines))
        if rest:
            yield f"{_shown(server_id, [rest])[0]}\n"


def since_last_launch(server_id: int) -> str:
    """Return what the last launch wrote, at most the last 256 KiB of it.

    A launch that found a server running, and so started none, does not count.
    """
    with _reading(server_id) as log:
        data = _last(server_id, log, LAUNCH_BYTES, LAUNCH_BYTES)
    refused = f"{server_dir(server_id)} has a keeper already"  # as keeper.py says it
    launches: list[list[str]] = [[]]
    for line in _shown(server_id, data.removesuffix(b"\n").split(b"\n")):
        if _LAUNCHED.fullmatch(line):
            launches.append([])
        elif line == refused and len(launches) > 1:
            added = launches.pop()
            launches[-1] += added
        else:
            launches[-1].append(line)
    return "\n".join(launches[-1])


@contextmanager
def opened_for_launch(server_id: int, argv: Sequence[str]) -> Iterator[FileIO]:
    """Give the log, to be appended to, after a line that says what is launched and when.

    Raises:
        OSError: it cannot be written.
    """
    rotate(server_id)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    command = printable(shlex.join(argv), MAX_LINE_CHARS // 2)
    with log_path(server_id).open("ab", buffering=0) as log:
        cut_off = b"" if _ends_whole(server_id) else b"\n"
        log.write(cut_off + f"--- launched {now}: {command} ---\n".encode())
        yield log


def rotate(server_id: int) -> bool:
    """Turn a server's log over if it is past MAX_LOG_BYTES; it may be running.

    Anybody may call it at any time, at the cost of one stat(). What the server writes
    in the microseconds between the last read and the truncation is lost. When the disk
    is full the log is emptied without being kept; any other failure is logged.

    Returns:
        Whether this call turned it over.
    """
    path = log_path(server_id)
    try:
        if path.stat().st_size <= MAX_LOG_BYTES:
            return False
        with path.open("rb+", buffering=0) as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            if os.fstat(log.fileno()).st_size <= MAX_LOG_BYTES:
                return False  # somebody was faster
            _turn_over(path, log)
    except FileNotFoundError:
        return False
    except OSError as error:
        logger.warning("%s grows on, it cannot be turned over: %s", path, error)
        return False
    return True


def _turn_over(path: Path, log: FileIO) -> None:
    first, second = _earlier(path)
    temporary = path.with_name(f"{path.name}.tmp")
    with suppress(FileNotFoundError):
        first.replace(second)  # before the copy: this may be what makes room for it
    try:
        with temporary.open("wb", buffering=0) as copy:
            shutil.copyfileobj(log, copy, BLOCK_BYTES)
            temporary.replace(first)
            shutil.copyfileobj(log, copy, BLOCK_BYTES)  # what came meanwhile
            os.ftruncate(log.fileno(), 0)
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        logger.warning("%s was emptied and not kept: %s", path, error)
        temporary.unlink(missing_ok=True)
        os.ftruncate(log.fileno(), 0)


class Line(NamedTuple):
    position: str  # where a Follower can go on after it
    text: str


class Follower:
    """Who reads on in a server's log, over turns and launches. For one thread at a time."""

    def __init__(self, server_id: int, *, lines: int, position: str = "") -> None:
        """Begin with the last `lines`; or after `position`, if the log is still that one."""
        self._server_id = server_id
        self._lines = lines
        self._position = position
        self._has_begun = False
        self._inode = 0
        self._turned_at = 0  # when the log before this one was made, ns; 0 without one
        self._offset = 0
        self._cut_off = b""  # the last line, while it has no end

    def read(self) -> list[Line]:
        """Return the new lines, none if there are none (yet). Never waits for any.

        A line that is not finished by the next call is given as it is.
        """
        with _reading(self._server_id) as log:
            if not self._has_begun:
                self._has_begun = True
                self._turned_at = _modified_at(_earlier(log_path(self._server_id))[0])
                return self._begin(log) if log is not None else []
            return self._read_on(log) if log is not None else []

    def _begin(self, log: FileIO) -> list[Line]:
        status = os.fstat(log.fileno())
        self._inode = status.st_ino
        turned_at, _, offset = self._position.partition("-")
        if turned_at == str(self._turned_at) and offset.isdecimal():
            self._offset = int(offset)
            if self._offset <= status.st_size:
                return self._read_on(log)
        self._offset = status.st_size
        data = _last(self._server_id, log, self._lines, MAX_TAIL_BYTES)
        found = self._take(data)
        return found[max(0, len(found) - self._lines) :]

    def _read_on(self, log: FileIO) -> list[Line]:
        status = os.fstat(log.fileno())
        found = []
        if status.st_ino != self._inode or status.st_size < self._offset:
            found = self._take(self._rest_before())
            self._inode, self._offset = status.st_ino, 0
        log.seek(self._offset)
        data = log.read(MAX_TAIL_BYTES)
        self._offset += len(data)
        found += self._take(data)
        if not found and not data and self._cut_off:
            found = self._take(b"\n")
        return found

    def _rest_before(self) -> bytes:
        """Return what had not been read when the log was turned over."""
        previous, _ = _earlier(log_path(self._server_id))
        turned_at = _modified_at(previous)
        if turned_at == self._turned_at:
            return b""  # it was emptied, and not kept
        self._turned_at = turned_at
        with suppress(FileNotFoundError), previous.open("rb") as log:
            log.seek(self._offset)
            return log.read(MAX_LOG_BYTES)
        return b""

    def _take(self, data: bytes) -> list[Line]:
        """Return the lines that `data`, up to the offset, completes."""
        *whole, rest = (self._cut_off + data).split(b"\n")
        if len(rest) > 4 * MAX_LINE_CHARS:  # it may never end
            whole.append(rest)
            rest = b""
        self._cut_off = rest
        end = self._offset - len(rest)
        position = max(0, end - sum(len(line) + 1 for line in whole))
        found = []
        for line, text in zip(whole, _shown(self._server_id, whole), strict=True):
            position = min(end, position + len(line) + 1)
            found.append(Line(f"{self._turned_at}-{position}", text))
        return found


def follow(
    server_id: int, lines: int, *, stop: threading.Event, poll_s: float = POLL_S
) -> Iterator[str]:
    """Yield the last `lines` of a server's log, and each new one until `stop` is set.

    It waits for a log that is not there yet, and goes on when the server is launched anew.
    """
    follower = Follower(server_id, lines=lines)
    while not stop.is_set():
        found = follower.read()
        yield from (line.text for line in found)
        if not found:
            stop.wait(poll_s)


@contextmanager
def _reading(server_id: int) -> Iterator[FileIO | None]:
    """Give the log, which nobody turns over meanwhile; None if there is none."""
    try:
        log = log_path(server_id).open("rb", buffering=0)
    except FileNotFoundError:
        yield None
        return
    with log:
        fcntl.flock(log, fcntl.LOCK_SH)
        yield log


def _last(server_id: int, log: FileIO | None, lines: int, max_bytes: int) -> bytes:
    """Return the end of the log and those before it: `lines` or more, if there are."""
    blocks: list[bytes] = []
    left_bytes, newlines = max_bytes, 0
    with ExitStack() as opened:
        files = [log] if log is not None else []
        for path in _earlier(log_path(server_id)):
            with suppress(FileNotFoundError):
                files.append(opened.enter_context(path.open("rb", buffering=0)))
        for file in files:
            position = file.seek(0, os.SEEK_END)
            while position > 0 and left_bytes > 0 and newlines <= lines:
                size_bytes = min(BLOCK_BYTES, position, left_bytes)
                position = file.seek(position - size_bytes)
                block = file.read(size_bytes)
                blocks.append(block)
                left_bytes -= size_bytes
                newlines += block.count(b"\n")
    return b"".join(reversed(blocks))


def _shown(server_id: int, lines: Sequence[bytes]) -> list[str]:
    """Return lines as a terminal would show them, were there nothing to it but text."""
    if not lines:
        return []
    key = server_key(server_id)
    texts = (line.decode(errors="replace").rstrip("\r") for line in lines)
    return [
        printable(text.rpartition("\r")[2].replace(key, "[its key]"), MAX_LINE_CHARS)
        for text in texts
    ]


def _earlier(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}.1"), path.with_name(f"{path.name}.2")


def _modified_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _ends_whole(server_id: int) -> bool:
    with log_path(server_id).open("rb") as log:
        size_bytes = log.seek(0, os.SEEK_END)
        log.seek(max(0, size_bytes - 1))
        return log.read(1) in {b"", b"\n"}
