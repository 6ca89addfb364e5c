"""What a disk may hold that no downloader put there: nothing of it stops a scan."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from models_app import readahead
from models_app.discovery import DIRECTORY, GEMMA, HUGGINGFACE, OLLAMA, RootSpec, discover
from models_app.gguf import read_gguf
from models_app.gguf_info import GGUFInfo
from tests.models_app.ggufs import write_gguf
from tests.models_app.scans import (
    add_to_cache,
    complete_gguf,
    known_of,
    only_model,
    reasons,
    scan,
    set_main,
)

GOOD = "Qwen3-4B-Q4_0.gguf"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that a scan opens."""
    names: list[str] = []

    def read(path: Path) -> GGUFInfo:
        names.append(path.name)
        return read_gguf(path)

    monkeypatch.setattr(readahead, "read_gguf", read)
    return names


# Links.


def test_links_in_a_circle_are_reported(tmp_path: Path) -> None:
    write_gguf(tmp_path / GOOD)
    (tmp_path / "a.gguf").symlink_to("b.gguf")
    (tmp_path / "b.gguf").symlink_to("a.gguf")
    (tmp_path / "folder").symlink_to("folder")

    found = scan(tmp_path)

    assert only_model(found).filename == GOOD
    assert reasons(found) == {
        "a.gguf": "symlink loop",
        "b.gguf": "symlink loop",
        "folder": "symlink loop",
    }


def test_folders_that_link_to_each_other_are_walked_once(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a" / GOOD)
    (tmp_path / "b").mkdir()
    (tmp_path / "a/to-b").symlink_to(tmp_path / "b")
    (tmp_path / "b/to-a").symlink_to(tmp_path / "a")

    found = scan(tmp_path)

    assert len(found.models) == 1
    assert found.skipped == []


def test_a_link_to_a_folder_that_is_gone_is_reported(tmp_path: Path) -> None:
    (tmp_path / "disk").symlink_to("/nowhere/models")
    (tmp_path / "README.md").symlink_to(write_gguf(tmp_path / GOOD))

    assert reasons(scan(tmp_path)) == {"disk": "broken link"}


# What is no file.


def test_pipes_devices_and_sockets_are_never_opened(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(tmp_path / GOOD)
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "null.gguf").symlink_to("/dev/null")
    (tmp_path / "zero.gguf").symlink_to("/dev/zero")
    (tmp_path / "folder.gguf").mkdir()
    monkeypatch.chdir(tmp_path)  # a socket's path is at most 108 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.gguf")

        found = scan(tmp_path)

    assert opened == [GOOD]
    assert reasons(found) == dict.fromkeys(
        ("pipe.gguf", "null.gguf", "zero.gguf", "socket.gguf"), "not a regular file"
    )


# Names.


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("""Qwen3 "4B" 'Q4_0' `id` $HOME; rm -rf .gguf""", id="quotes"),
        pytest.param("..%2f..%2fetc%2fpasswd.gguf", id="an encoded path"),
        pytest.param("..\\..\\passwd.gguf", id="a path of Windows"),
        pytest.param("...gguf", id="dots"),
        pytest.param("-m --host 0.0.0.0.gguf", id="options"),
        pytest.param("通义千问-4B.gguf", id="Chinese"),
        pytest.param("a" * 250 + ".gguf", id="255 bytes"),
        pytest.param("<b>&{{ x }}.gguf", id="markup"),
    ],
)
def test_an_odd_name_is_kept_as_it_is(tmp_path: Path, name: str) -> None:
    path = write_gguf(tmp_path / name)

    model = only_model(scan(tmp_path))

    assert (model.filename, model.file_path, model.identity) == (name, path, str(path))
    assert len(model.family) <= 40
    assert len(model.variant) <= 80


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("Qwen3\n[INFO] all is well.gguf", id="newline"),
        pytest.param("Qwen3\r\x1b[2J.gguf", id="an escape sequence"),
        pytest.param("Qwen3\u202efdp.gguf", id="turned round"),
        pytest.param("Qwen3\u2028.gguf", id="a line separator"),
    ],
)
def test_a_name_with_control_characters_is_skipped(tmp_path: Path, name: str) -> None:
    write_gguf(tmp_path / name)

    found = scan(tmp_path)

    assert found.models == []
    assert list(reasons(found).values()) == ["its name has control characters"]
    assert name not in reasons(found)  # which a terminal would obey


def test_a_folder_whose_name_is_not_utf_8_is_skipped_with_what_is_in_it(
    tmp_path: Path,
) -> None:
    write_gguf(tmp_path / os.fsdecode(b"caf\xe9") / GOOD)
    write_gguf(tmp_path / GOOD)

    found = scan(tmp_path)

    assert only_model(found).file_path == tmp_path / GOOD
    assert reasons(found) == {GOOD: "its name is not UTF-8"}
    assert [str(item.path) for item in found.skipped] == [str(tmp_path / "caf\ufffd" / GOOD)]


def test_the_name_of_a_repo_is_no_path(tmp_path: Path) -> None:
    content = complete_gguf()
    link = add_to_cache(tmp_path, "..--..--etc", "r1", GOOD, content)

    model = only_model(scan(tmp_path, HUGGINGFACE))

    assert model.repo_id == "../..--etc"
    assert model.file_path == link


# Files that change.


def test_a_file_that_shrinks_while_it_is_read_is_truncated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrinking = write_gguf(tmp_path / "a-1b-q4_0.gguf")
    write_gguf(tmp_path / GOOD)

    def read(path: Path) -> GGUFInfo:
        if path == shrinking:
            os.truncate(path, 100)
        return read_gguf(path)

    monkeypatch.setattr(readahead, "read_gguf", read)

    found = scan(tmp_path)

    assert only_model(found).filename == GOOD
    assert reasons(found)[shrinking.name].startswith("truncated: ")


def test_a_file_that_goes_before_it_is_read_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    going = write_gguf(tmp_path / "a-1b-q4_0.gguf")

    def read(path: Path) -> GGUFInfo:
        path.unlink()
        return read_gguf(path)

    monkeypatch.setattr(readahead, "read_gguf", read)

    assert reasons(scan(tmp_path)) == {going.name: "gone since the scan began"}


def test_a_download_that_is_under_way(tmp_path: Path) -> None:
    add_to_cache(tmp_path, "a/b", "r1", GOOD, complete_gguf())
    snapshot = tmp_path / "models--a--b/snapshots/r1"
    (snapshot / "next-4B-Q8_0.gguf").symlink_to("../../blobs/0123")
    (tmp_path / "models--a--b/blobs/0123.abcd.incomplete").write_bytes(b"GGUF")
    (tmp_path / "models--c--d/blobs").mkdir(parents=True)
    (tmp_path / "models--c--d/blobs/4567.incomplete").write_bytes(b"GGUF")
    (tmp_path / "loose.gguf.downloadInProgress").write_bytes(b"GGUF")

    found = scan(tmp_path, HUGGINGFACE)

    assert only_model(found).filename == GOOD
    assert reasons(found) == {
        "next-4B-Q8_0.gguf": "broken link",
        "0123.abcd.incomplete": "incomplete download",
        "4567.incomplete": "incomplete download",
        "loose.gguf.downloadInProgress": "incomplete download",
    }
    assert found.files_seen == 5


def test_a_download_that_ends_is_found_by_the_next_scan(tmp_path: Path) -> None:
    add_to_cache(tmp_path, "a/b", "r1", GOOD, complete_gguf()[:-512])
    first = scan(tmp_path, HUGGINGFACE)
    blob = next((tmp_path / "models--a--b/blobs").iterdir())
    blob.write_bytes(complete_gguf())

    found = scan(tmp_path, HUGGINGFACE, known=known_of(first), known_skips=first.known_skips)

    assert reasons(first)[GOOD].startswith("truncated: ")
    assert only_model(found).filename == GOOD


def test_a_ref_that_is_a_pipe_does_not_stop_a_scan(tmp_path: Path) -> None:
    add_to_cache(tmp_path, "a/b", "r1", GOOD, complete_gguf())
    set_main(tmp_path, "a/b", "r1")
    ref = tmp_path / "models--a--b/refs/main"
    ref.unlink()
    os.mkfifo(ref)

    assert only_model(scan(tmp_path, HUGGINGFACE)).filename == GOOD


def test_snapshots_that_are_no_folders_do_not_stop_a_scan(tmp_path: Path) -> None:
    add_to_cache(tmp_path, "a/b", "r1", GOOD, complete_gguf())
    snapshots = tmp_path / "models--a--b/snapshots"
    (snapshots / "loop").symlink_to("loop")
    (snapshots / "gone").symlink_to("nowhere")
    (snapshots / "file").touch()
    (tmp_path / "models--c--d").touch()

    found = scan(tmp_path, HUGGINGFACE)

    assert only_model(found).filename == GOOD
    assert set(found.root_errors) == {
        (tmp_path / "models--c--d/blobs", "not a folder"),
        (tmp_path / "models--c--d/snapshots", "not a folder"),
    }


# Roots.

KINDS = [DIRECTORY, HUGGINGFACE, OLLAMA, GEMMA]


@pytest.mark.parametrize("kind", KINDS)
def test_a_root_that_is_a_file_is_reported_and_the_others_scanned(
    tmp_path: Path, kind: str
) -> None:
    file = write_gguf(tmp_path / "folder" / GOOD)

    found = discover(
        [
            RootSpec(file, kind),
            RootSpec(file / "below", kind),
            RootSpec(file.parent, DIRECTORY),
        ]
    )

    assert found.root_errors == [(file, "not a folder"), (file / "below", "not a folder")]
    assert only_model(found).file_path == file


@pytest.fixture
def closed_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that may not be read, by root either: no mode bit would stop root."""
    folder = tmp_path / "closed"
    folder.mkdir()
    scandir = os.scandir

    def refuse(path: Any = ".") -> Any:
        if Path(path).resolve().is_relative_to(folder):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_root_without_permission_is_reported_and_the_others_scanned(
    tmp_path: Path, closed_folder: Path, kind: str
) -> None:
    file = write_gguf(tmp_path / "folder" / GOOD)

    found = discover([RootSpec(closed_folder, kind), RootSpec(file.parent, DIRECTORY)])

    assert found.root_errors == [(closed_folder, "permission denied")]
    assert only_model(found).file_path == file


def test_blobs_without_permission_are_reported_and_the_rest_scanned(
    tmp_path: Path, closed_folder: Path
) -> None:
    hub = tmp_path / "hub"
    add_to_cache(hub, "a/b", "r1", GOOD, complete_gguf())
    blobs = hub / "models--a--b/blobs"
    blobs.rename(closed_folder / "blobs")
    blobs.symlink_to(closed_folder / "blobs")

    found = scan(hub, HUGGINGFACE)

    assert found.root_errors == [(blobs, "permission denied")]
    assert only_model(found).filename == GOOD


def test_a_folder_without_permission_is_reported_and_the_rest_scanned(
    tmp_path: Path, closed_folder: Path
) -> None:
    write_gguf(closed_folder / "hidden-1b-q4_0.gguf")
    write_gguf(tmp_path / GOOD)

    found = scan(tmp_path)

    assert found.root_errors == [(closed_folder, "permission denied")]
    assert only_model(found).filename == GOOD
