"""What is read from an archive that is damaged, or was made to do harm: nothing."""

import gzip
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from magi_site.backup import archive
from magi_site.backup.archive import check, written
from magi_site.backup.errors import ArchiveError
from tests.magi_site.backups import empty_manifest, members_of, pack

MEMBER = "tables/auth.User.jsonl"


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """An archive without tables."""
    with written(tmp_path / "b.tar.gz", 1.0) as writer:
        writer.add("manifest.json", [empty_manifest()])
    return tmp_path / "b.tar.gz"


def test_a_sound_one_is_read(sound: Path) -> None:
    assert check(sound).node == "local"


@pytest.mark.parametrize("keep", [0, 1, 20, -1, -9])
def test_one_that_was_cut_short_is_refused(sound: Path, keep: int) -> None:
    sound.write_bytes(sound.read_bytes()[:keep])

    with pytest.raises(ArchiveError, match=r"b\.tar\.gz cannot be restored from"):
        check(sound)


def test_no_single_byte_may_differ(tmp_path: Path) -> None:
    path = tmp_path / "b.tar.gz"
    with written(path, 1.0) as writer:
        writer.add("registry.json", [b"x" * 3000])
        writer.add("manifest.json", [empty_manifest()])
    whole = path.read_bytes()
    for at in range(10, len(whole), 7):  # before, gzip has a name, a time and flags
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])

        with pytest.raises(ArchiveError):
            check(path)


def test_content_that_is_not_what_the_manifest_says_is_refused(sound: Path) -> None:
    members = members_of(sound)
    pack(sound, [("registry.json", b"{}"), ("manifest.json", members["manifest.json"])])

    with pytest.raises(ArchiveError, match=r"registry\.json is not what the manifest says"):
        check(sound)


def test_one_without_a_manifest_is_refused(tmp_path: Path) -> None:
    pack(tmp_path / "b.tar.gz", [("registry.json", b"{}")])

    with pytest.raises(ArchiveError, match="it has no manifest"):
        check(tmp_path / "b.tar.gz")


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "tables/../../x.jsonl",
        "tables/auth.User.jsonl/..",
        "profiles/a/b.yaml",
        "profiles/..yaml",
        "secret_key/",
        "C:\\x",
        "tables/auth.User.jsonl\n",
        "",
    ],
)
def test_a_name_that_no_backup_has_is_refused(tmp_path: Path, name: str) -> None:
    pack(tmp_path / "b.tar.gz", [(name, b"x"), ("manifest.json", empty_manifest())])

    with pytest.raises(ArchiveError):
        check(tmp_path / "b.tar.gz")

    assert [each.name for each in tmp_path.iterdir()] == ["b.tar.gz"]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(tarfile.SYMTYPE, id="a symbolic link"),
        pytest.param(tarfile.LNKTYPE, id="a link"),
        pytest.param(tarfile.DIRTYPE, id="a folder"),
        pytest.param(tarfile.CHRTYPE, id="a device"),
        pytest.param(tarfile.FIFOTYPE, id="a pipe"),
        pytest.param(tarfile.CONTTYPE, id="what nobody has"),
    ],
)
def test_what_is_no_plain_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo(MEMBER)
    info.type, info.linkname = kind, "/etc/passwd"
    pack(tmp_path / "b.tar.gz", [(info, b"")])

    with pytest.raises(ArchiveError, match="is no plain file"):
        check(tmp_path / "b.tar.gz")


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    pack(tmp_path / "b.tar.gz", [(MEMBER, b""), (MEMBER, b"")])

    with pytest.raises(ArchiveError, match="is in it twice"):
        check(tmp_path / "b.tar.gz")


def test_something_behind_the_manifest_is_refused(tmp_path: Path) -> None:
    pack(tmp_path / "b.tar.gz", [("manifest.json", empty_manifest()), (MEMBER, b"")])

    with pytest.raises(ArchiveError, match="behind its manifest"):
        check(tmp_path / "b.tar.gz")


def test_a_bomb_is_left_as_soon_as_it_is_larger_than_any_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "ALWAYS_ALLOWED_BYTES", 2**20)
    pack(tmp_path / "b.tar.gz", [(MEMBER, bytes(40 * 2**20))])  # of nothing but zeros

    with pytest.raises(ArchiveError, match="unpacks to more than"):
        check(tmp_path / "b.tar.gz")


def test_a_name_as_large_as_a_bomb_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type = tarfile.GNUTYPE_LONGNAME
    with gzip.open(tmp_path / "b.tar.gz", "wb") as packed:
        info.size = 2**30
        packed.write(info.tobuf(tarfile.GNU_FORMAT))
        packed.write(bytes(2**20))

    with pytest.raises(ArchiveError, match="a header in it is larger than any of ours"):
        check(tmp_path / "b.tar.gz")


def test_a_line_longer_than_any_row_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MAX_LINE_BYTES", 100)
    pack(tmp_path / "b.tar.gz", [(MEMBER, b"x" * 300)])
    members = archive.members(tmp_path / "b.tar.gz")
    name, file = next(members)

    with pytest.raises(ArchiveError, match="has a line above"):
        list(archive.lines(tmp_path / "b.tar.gz", name, file, archive.Member(300, "")))


@pytest.mark.parametrize(
    "manifest",
    [b"", b"[]", b"null", b'{"format": 1}', b'{"format": 2}', b"[" * 100_000, b"\xff"],
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, manifest: bytes) -> None:
    pack(tmp_path / "b.tar.gz", [("manifest.json", manifest)])

    with pytest.raises(ArchiveError):
        check(tmp_path / "b.tar.gz")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"made_at": "\x1b]0;a title\x07"}, id="what a terminal obeys"),
        pytest.param({"made_at": 5}, id="a number"),
        pytest.param({"node": None}, id="nothing"),
        pytest.param({"database": "a\nb"}, id="two lines"),
        pytest.param({"magi": "x" * 1000}, id="a long one"),
        pytest.param({"migrations": [["models_app", "\x1b[2J"]]}, id="a migration"),
        pytest.param({"columns": {"a.B": ["\x1b[2J"]}, "rows": {"a.B": 0}}, id="a column"),
        pytest.param({"columns": {"a.B": []}, "rows": {"a.B": float("inf")}}, id="no number"),
    ],
)
def test_a_manifest_with_words_that_are_none_is_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    manifest = json.loads(empty_manifest()) | change
    pack(tmp_path / "b.tar.gz", [("manifest.json", json.dumps(manifest).encode())])

    with pytest.raises(ArchiveError, match="its manifest is not one of ours"):
        check(tmp_path / "b.tar.gz")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        pytest.param(lambda path: None, "There is no file", id="none"),
        pytest.param(lambda path: path.mkdir(), "is a folder", id="a folder"),
        pytest.param(lambda path: path.write_bytes(b"PK\3\4"), "Not a gzipped", id="a zip"),
    ],
)
def test_what_is_no_archive_is_named(tmp_path: Path, make: Any, why: str) -> None:
    make(tmp_path / "b.tar.gz")

    with pytest.raises(ArchiveError, match=why):
        check(tmp_path / "b.tar.gz")
