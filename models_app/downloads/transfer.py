"""Fetch one file: from where it stopped, up to its last byte, and checked."""

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import httpx2

from models_app.downloads.control import PROXY_HINT, Control, TryAgainError
from models_app.downloads.figures import size_text
from models_app.downloads.files import RemoteFile
from models_app.downloads.http import RETRIED, after_s, opened
from models_app.errors import (
    GatedError,
    UnknownReferenceError,
    UnsupportedDownloadError,
    WrongHashError,
)

CHUNK: Final = 2**20  # of a file that is hashed
# A hub's caches give no object of 50 GB as a whole, but any part of it.
PART_BYTES: Final = 40 * 10**9
POLL_S: Final = 0.2
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class Fetcher:
    client: httpx2.Client
    control: Control
    token: str
    gated: str  # what to do about 401 and 403
    teller: str = "its hub"  # who told of sizes and hashes
    distrust: str = "trust neither that hub nor what lies between"  # if it comes wrong twice

    def fetch(self, file: RemoteFile) -> None:
        """Have `file` on this machine, with the bytes that its hub tells of.

        What is there of it counts. One that another process fetches is waited for.

        Raises:
            WrongHashError: they are other bytes. What came was removed.
            UnsupportedDownloadError: it is no GGUF file, and was removed.
            GatedError, UnknownReferenceError: it cannot be had.
            UnavailableError: the hub does not answer any more.
            StoppedError: nobody wants it any more. What came stays.
            OSError: it cannot be written.
        """
        file.blob.parent.mkdir(parents=True, exist_ok=True)
        if self._is_there(file):
            return
        with _partial(file.partial, self.control) as target:
            if self._is_there(file):  # whoever had the lock before us has brought it
                file.partial.unlink(missing_ok=True)
                return
            self.control.has(file.name, os.fstat(target.fileno()).st_size)
            try:
                self._bring(file, target)
            except (WrongHashError, UnsupportedDownloadError):
                file.partial.unlink(missing_ok=True)
                self.control.has(file.name, 0)
                raise
            file.partial.replace(file.blob)

    @contextmanager
    def ask(self, file: RemoteFile, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
        """Ask for a part of `file`, wherever it is to be had."""
        with opened(
            self.client, file.url, self.control, headers=headers, token=self.token
        ) as response:
            yield response

    def patience(self, file: RemoteFile) -> tuple[str, str]:
        """Return who it is that does not answer, and what to do about that."""
        return httpx2.URL(file.url).host, PROXY_HINT

    def _bring(self, file: RemoteFile, target: BinaryIO) -> None:
        while self.control.patiently(lambda: self._go_on(file, target), *self.patience(file)):
            pass
        os.fsync(target.fileno())
        if problem := self._problem(file, file.partial):
            raise problem

    def _is_there(self, file: RemoteFile) -> bool:
        try:
            size = file.blob.stat().st_size
        except FileNotFoundError:
            return False
        self.control.has(file.name, min(size, file.size_bytes))
        if size == file.size_bytes and self._problem(file, file.blob) is None:
            return True
        file.blob.unlink(missing_ok=True)  # something has spoilt it since
        self.control.has(file.name, 0)
        return False

    def _go_on(self, file: RemoteFile, target: BinaryIO) -> bool:
        """Ask for the rest, or a part of it; return whether there is more to ask for."""
        start = target.seek(0, os.SEEK_END)
        if start > file.size_bytes:
            start = self._start_over(file, target)
        if start == file.size_bytes:
            return False
        end = min(start + PART_BYTES, file.size_bytes)
        asked = f"bytes={start}-{'' if end == file.size_bytes else end - 1}"
        with self.ask(file, {"Range": asked}) as response:
            if response.status_code == httpx2.codes.OK and start:  # it knows no ranges
                start, end = self._start_over(file, target), file.size_bytes
            elif response.status_code == httpx2.codes.RANGE_NOT_SATISFIABLE and start:
                self._start_over(file, target)
                msg = "it has no such part of the file"
                raise TryAgainError(msg)
            else:
                self._raise_for(response, file)
            self._check_length(response, file, start)
            self._write(response, file, target)
        return True

    def _write(self, response: httpx2.Response, file: RemoteFile, target: BinaryIO) -> None:
        at = target.tell()
        first = at
        try:
            for chunk in response.iter_raw():
                self.control.check()
                at += len(chunk)
                if at > file.size_bytes:
                    raise self._too_long(file)
                _write_all(target, chunk)
                self.control.came(file.name, len(chunk))
        except httpx2.TransportError as error:
            msg = f"cut off after {size_text(at)} of {size_text(file.size_bytes)}"
            raise TryAgainError(
                msg, has_moved=self.control.is_further(file.name, at)
            ) from error
        if at == first:
            msg = "an answer with nothing in it"
            raise TryAgainError(msg)

    def _start_over(self, file: RemoteFile, target: BinaryIO) -> int:
        target.seek(0)
        target.truncate()
        self.control.has(file.name, 0)
        return 0

    def _raise_for(self, response: httpx2.Response, file: RemoteFile) -> None:
        status = response.status_code
        if status in (httpx2.codes.OK, httpx2.codes.PARTIAL_CONTENT):
            return
        if status in RETRIED:
            reason = f"{status} for {file.name}"
            raise TryAgainError(reason, after_s=after_s(response))
        if status in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
            raise GatedError(self.gated)
        if status in (httpx2.codes.NOT_FOUND, httpx2.codes.GONE):
            msg = f"{file.name} is not at {response.url.host} any more. Ask again."
            raise UnknownReferenceError(msg)
        msg = f"{response.url.host} answers {status} for {file.name}."
        raise UnsupportedDownloadError(msg)

    def _problem(self, file: RemoteFile, path: Path) -> Exception | None:
        """Return what is wrong with the bytes of a file that is all there."""
        hasher = file.digest.hasher(file.size_bytes)
        self.control.hashing = file.name
        try:
            with path.open("rb") as source:
                magic = source.read(4)
                hasher.update(magic)
                while chunk := source.read(CHUNK):
                    self.control.check()
                    hasher.update(chunk)
        finally:
            self.control.hashing = ""
        if hasher.hexdigest() != file.digest.value:
            return WrongHashError(
                f"{file.name} came with other bytes than {self.teller} tells of "
                f"({file.digest.algorithm} {hasher.hexdigest()[:12]}…, not "
                f"{file.digest.value[:12]}…), and was removed. Ask again; if it comes so "
                f"again, {self.distrust}."
            )
        if file.is_gguf and magic != b"GGUF":
            return UnsupportedDownloadError(f"{file.name} is no GGUF file, and was removed.")
        return None

    def _check_length(self, response: httpx2.Response, file: RemoteFile, start: int) -> None:
        """Make sure that the answer is about the file that was told of.

        Raises:
            TryAgainError: it is about another part of it.
            WrongHashError: the file is longer or shorter than was told.
        """
        total: str | None = response.headers.get("Content-Length")
        if response.status_code == httpx2.codes.PARTIAL_CONTENT:
            match = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
            if match is None or int(match[1]) != start:
                msg = "it sends another part than was asked for"
                raise TryAgainError(msg)
            total = None if match[3] == "*" else match[3]
        if total is not None and total.isdecimal() and int(total) != file.size_bytes:
            raise self._wrong_length(file, int(total))

    def _wrong_length(self, file: RemoteFile, n_bytes: int) -> WrongHashError:
        return WrongHashError(
            f"{file.name} has {n_bytes:,} bytes, and {self.teller} told of "
            f"{file.size_bytes:,}. Nothing of it was kept. Ask again: it may have been "
            "replaced just now."
        )

    def _too_long(self, file: RemoteFile) -> WrongHashError:
        return WrongHashError(
            f"More than the {file.size_bytes:,} bytes of {file.name} came, and were removed. "
            f"Ask again; if it comes so again, {self.distrust}."
        )


@contextmanager
def _partial(path: Path, control: Control) -> Iterator[BinaryIO]:
    """Open what there is of a file, for one process and thread at a time."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        with os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0) as file:
            while not _is_locked(file):
                control.wait(POLL_S)
            if _is_at(path, file):
                yield file
                return
        # Whoever had it has finished it meanwhile, and the name is another file's.


def _is_locked(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _write_all(target: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:  # a disk that is nearly full takes some of it
        view = view[target.write(view) :]
