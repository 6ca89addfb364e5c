"""The archive of a backup: a tar.gz of plain files, written whole or not at all.

    tables/APP.MODEL.jsonl   one row a line, as an array in the order of the manifest's columns
    profiles/SLUG.yaml       the profiles, for people: a restore reads the tables
    registry.json            the registry in the guide's shape, for people
    secret_key               only if it was asked for
    manifest.json            the last: what is in it, and the SHA-256 of each of the others

Whoever reads an archive trusts nothing in it: it may be damaged, or made to do harm. Nothing
of it is ever written to the disk under a name that it chooses.
"""

import gzip
import hashlib
import json
import os
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Final, cast

from magi_site.backup.errors import ArchiveError

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
SECRET_KEY: Final = "secret_key"  # noqa: S105  # nosec B105 - the name of a member
REGISTRY: Final = "registry.json"

MAX_MEMBERS: Final = 20_000
MAX_MANIFEST_BYTES: Final = 16 * 2**20
MAX_WORD_CHARS: Final = 200  # of a version, a time, a name
MAX_LINE_BYTES: Final = 64 * 2**20
# Rows of text pack 10 to 60 to 1; gzip's utmost, of nothing but zeros, is a thousand.
MAX_RATIO: Final = 200
ALWAYS_ALLOWED_BYTES: Final = 64 * 2**20
MAX_READ_BYTES: Final = 4 * 2**20  # tarfile reads what a header calls its name in one piece
CHUNK_BYTES: Final = 2**20

_NAME: Final = re.compile(
    r"manifest\.json|registry\.json|secret_key"
    r"|tables/[A-Za-z_]\w{0,99}\.[A-Za-z_]\w{0,99}\.jsonl"
    r"|profiles/[A-Za-z0-9_-]{1,100}\.yaml",
    re.ASCII,
)
_DAMAGE: Final = (OSError, EOFError, zlib.error, tarfile.TarError, ValueError, OverflowError)
_NO_MANIFEST: Final = (
    ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Member:
    size_bytes: int
    sha256: str


@dataclass(slots=True)
class Manifest:
    """What an archive says of itself."""

    magi: str  # the version that made it
    made_at: str  # ISO 8601
    node: str
    database: str
    migrations: list[list[str]]  # app, name
    columns: dict[str, list[str]] = field(default_factory=dict)  # by APP.MODEL
    rows: dict[str, int] = field(default_factory=dict)  # by APP.MODEL
    members: dict[str, Member] = field(default_factory=dict)  # by name
    format: int = FORMAT

    @property
    def has_secret_key(self) -> bool:
        return SECRET_KEY in self.members


def is_member(name: str) -> bool:
    """Whether an archive may have a member of that name."""
    return _NAME.fullmatch(name) is not None


def table_member(label: str) -> str:
    """Return the name of the member that has the rows of APP.MODEL."""
    return f"tables/{label}.jsonl"


class Writer:
    """Adds members to an archive that is being made."""

    def __init__(self, tar: tarfile.TarFile, folder: Path, mtime: float) -> None:
        self._tar = tar
        self._folder = folder
        self._mtime = mtime
        self.members: dict[str, Member] = {}

    def add(self, name: str, pieces: Iterable[bytes]) -> None:
        """Add `pieces` as one member. They lie in a file meanwhile, never all in memory."""
        digest, size = hashlib.sha256(), 0
        with tempfile.TemporaryFile(dir=self._folder) as file:
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
                size += len(piece)
            file.seek(0)
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = size, 0o600, int(self._mtime)
            self._tar.addfile(info, cast("IO[bytes]", file))
        self.members[name] = Member(size, digest.hexdigest())


@contextmanager
def written(path: Path, made_at: float) -> Iterator[Writer]:
    """Yield a writer of the archive `path`, which is there, whole, when the block ends well.

    Its mode is 0600: it has hashes of passwords in it.

    Args:
        made_at: Unix time, seconds.

    Raises:
        OSError: the folder cannot be written to, or is full.
    """
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        try:
            with (
                gzip.GzipFile(
                    "", "wb", compresslevel=6, fileobj=file, mtime=int(made_at)
                ) as packed,
                tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
            ):
                yield Writer(tar, path.parent, made_at)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def manifest_bytes(manifest: Manifest) -> bytes:
    return json.dumps(asdict(manifest), indent=1).encode()


def check(path: Path) -> Manifest:
    """Read the whole archive, and return its manifest.

    Raises:
        ArchiveError: it is no archive of ours, is damaged, or has something in it that no
            backup has.
    """
    found: dict[str, Member] = {}
    text = b""
    for name, file in members(path):
        if MANIFEST in found:
            raise _damaged(path, "something stands behind its manifest")
        digest, size = hashlib.sha256(), 0
        for piece in _pieces(path, file):
            digest.update(piece)
            size += len(piece)
            if name == MANIFEST:
                text += piece
                if size > MAX_MANIFEST_BYTES:
                    raise _damaged(path, "its manifest is too large")
        found[name] = Member(size, digest.hexdigest())
    if found.pop(MANIFEST, None) is None:
        raise _damaged(path, "it has no manifest: it is cut short, or no backup of MAGI")
    manifest = _manifest(path, text)
    if wrong := sorted(
        name
        for name in found.keys() | manifest.members.keys()
        if found.get(name) != manifest.members.get(name)
    ):
        raise _damaged(path, f"{wrong[0]} is not what the manifest says")
    tables = {table_member(label) for label in manifest.columns}
    if manifest.columns.keys() != manifest.rows.keys() or tables != {
        name for name in found if name.startswith("tables/")
    }:
        raise _damaged(path, "its tables are not those of its manifest")
    return manifest


def members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the name and the content of each member, to be read before the next is asked for.

    Raises:
        ArchiveError: as `check`.
    """
    seen: set[str] = set()
    with _readable(path), path.open("rb") as raw, gzip.GzipFile(fileobj=raw) as unpacked:
        limit = path.stat().st_size * MAX_RATIO + ALWAYS_ALLOWED_BYTES
        bounded = cast("IO[bytes]", _Bounded(unpacked, limit))
        with tarfile.open(fileobj=bounded, mode="r:") as tar:
            for member in tar:
                _refuse_strange(path, member, seen)
                seen.add(member.name)
                file = tar.extractfile(member)
                assert file is not None  # noqa: S101  # nosec B101 - a regular file
                yield member.name, file
        # What stands behind the end of the tar is checked by gzip alone.
        while unpacked.read(CHUNK_BYTES):
            pass


def lines(path: Path, name: str, file: IO[bytes], expected: Member) -> Iterator[bytes]:
    """Yield the lines of a member; at its end, it must have been what the manifest says.

    Raises:
        ArchiveError: it is not, or a line is longer than any row.
    """
    digest, size = hashlib.sha256(), 0
    reader = cast("BufferedReader", file)
    with _readable(path):
        while line := reader.readline(MAX_LINE_BYTES + 1):
            if len(line) > MAX_LINE_BYTES:
                raise _damaged(path, f"{name} has a line above {MAX_LINE_BYTES >> 20} MiB")
            digest.update(line)
            size += len(line)
            yield line
    if Member(size, digest.hexdigest()) != expected:
        raise _damaged(path, f"{name} has changed since it was checked")


def _pieces(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    with _readable(path):
        while piece := file.read(CHUNK_BYTES):
            yield piece


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Have whatever comes of reading a file that is no archive be an ArchiveError."""
    try:
        yield
    except _TooLarge as error:
        raise _damaged(path, str(error)) from error
    except FileNotFoundError as error:
        msg = f"There is no file {path}."
        raise ArchiveError(msg) from error
    except IsADirectoryError as error:
        msg = f"{path} is a folder, not a backup."
        raise ArchiveError(msg) from error
    except PermissionError as error:
        msg = f"{path} cannot be read: {error.strerror}."
        raise ArchiveError(msg) from error
    except _DAMAGE as error:
        raise _damaged(path, str(error) or type(error).__name__) from error


class _TooLarge(Exception):
    """More came out of the archive than any backup of its size has."""


class _Bounded:
    """A file that is read in bounded pieces, and never past a bound: against bombs."""

    def __init__(self, file: gzip.GzipFile, limit: int) -> None:
        self._file = file
        self._limit = limit

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_READ_BYTES:
            msg = "a header in it is larger than any of ours"
            raise _TooLarge(msg)
        data = self._file.read(size)
        self._hold()
        return data

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, position: int) -> int:
        if position > self._limit:
            self._refuse()
        return self._file.seek(position)

    def _hold(self) -> None:
        if self._file.tell() > self._limit:
            self._refuse()

    def _refuse(self) -> None:
        msg = (
            f"it unpacks to more than {self._limit >> 20:,} MiB, as no backup of its size does"
        )
        raise _TooLarge(msg)


def _refuse_strange(path: Path, member: tarfile.TarInfo, seen: set[str]) -> None:
    shown = member.name[:200]
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.pax_headers:
        raise _damaged(path, f"{shown!r} in it is no plain file")
    if not is_member(member.name):
        raise _damaged(path, f"{shown!r} in it is no name that a backup has")
    if member.name in seen:
        raise _damaged(path, f"{shown!r} is in it twice")
    if len(seen) >= MAX_MEMBERS:
        raise _damaged(path, f"it has more than {MAX_MEMBERS:,} members")


def _manifest(path: Path, text: bytes) -> Manifest:
    try:
        read: Any = json.loads(text)
        if read["format"] != FORMAT:
            msg = f"is of format {read['format']!r}, and this MAGI reads {FORMAT}"
            raise _damaged(path, msg)
        manifest = Manifest(
            **{
                **read,
                "members": {name: Member(**each) for name, each in read["members"].items()},
            }
        )
        migrations = [(_word(app), _word(name)) for app, name in manifest.migrations]
        columns = {
            label: [_word(column) for column in names]
            for label, names in manifest.columns.items()
        }
        rows = {label: int(count) for label, count in manifest.rows.items()}
        for word in (manifest.magi, manifest.made_at, manifest.node, manifest.database):
            _word(word)
    except _NO_MANIFEST as error:
        raise _damaged(path, "its manifest is not one of ours") from error
    manifest.migrations = [list(each) for each in migrations]
    manifest.columns, manifest.rows = columns, rows
    return manifest


def _word(value: object) -> str:
    """Return what can be put into a sentence, and on a terminal.

    Raises:
        ValueError: it cannot.
    """
    if isinstance(value, str) and len(value) <= MAX_WORD_CHARS and value.isprintable():
        return value
    msg = "no word"
    raise ValueError(msg)


def _damaged(path: Path, why: str) -> ArchiveError:
    return ArchiveError(f"{path.name} cannot be restored from: {why}.")
