"""A profile and its file: which side was edited since they agreed, and what becomes of it."""

from pathlib import Path

import pytest

from profiles_app.errors import ProfileFileConflictError
from profiles_app.files import (
    FileState,
    Synced,
    conflict_lines,
    file_state,
    sync,
    write_file,
)
from profiles_app.models import Profile
from profiles_app.rows import as_document
from profiles_app.services import get_profile, roll_back, save_document

pytestmark = pytest.mark.django_db

FLAT = "# mine\nname: Flat\nenabled_models: [a_fast]  # the small one\n"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def edit(slug: str, **values: object) -> Profile:
    """Change a profile as the API does."""
    document = as_document(get_profile(slug))
    return save_document({**document, **values}, slug=slug, author="ann")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of one file that has been read."""
    write(tmp_path, "flat.yaml", FLAT)
    sync(tmp_path)
    return tmp_path


def test_what_nobody_edited_is_unchanged(folder: Path) -> None:
    assert sync(folder) == Synced(unchanged=["flat"])
    assert file_state(get_profile("flat"), folder) == FileState.SAME
    assert get_profile("flat").version == 1


def test_an_edited_file_is_read(folder: Path) -> None:
    write(folder, "flat.yaml", FLAT + "queue: {limit: 9}\n")
    assert file_state(get_profile("flat"), folder) == FileState.FILE_CHANGED

    assert sync(folder) == Synced(updated=["flat"])

    assert get_profile("flat").queue_limit == 9


def test_a_profile_edited_here_is_left_alone_and_its_file_too(folder: Path) -> None:
    edit("flat", description="edited here")

    assert sync(folder) == Synced(edited_here=["flat"])

    assert get_profile("flat").description == "edited here"
    assert (folder / "flat.yaml").read_text() == FLAT


def test_an_export_writes_what_was_edited_and_keeps_the_comments(folder: Path) -> None:
    profile = edit("flat", description="edited here")

    path = write_file(profile, folder)

    text = path.read_text()
    assert text.startswith("# mine\nname: Flat\n")
    assert "enabled_models: [a_fast]  # the small one\n" in text
    assert "description: edited here" in text
    assert sync(folder) == Synced(unchanged=["flat"])


def test_an_edit_on_both_sides_is_shown_and_not_overwritten(folder: Path) -> None:
    profile = edit("flat", description="edited here")
    edited = write(folder, "flat.yaml", FLAT + "queue: {limit: 9}\n")

    assert sync(folder) == Synced(conflicts=["flat"])

    assert file_state(profile, folder) == FileState.CONFLICT
    assert conflict_lines(profile, folder) == [
        "description: edited here → ",
        "queue.limit: 64 → 9",
    ]
    with pytest.raises(ProfileFileConflictError, match="was edited since"):
        write_file(profile, folder)
    assert "limit: 9" in edited.read_text()
    assert get_profile("flat").description == "edited here"


@pytest.mark.parametrize(
    ("take", "limit", "state"),
    [("file", 9, FileState.SAME), ("profile", 64, FileState.ROW_CHANGED)],
)
def test_a_person_says_which_side_wins(
    folder: Path, take: str, limit: int, state: FileState
) -> None:
    edit("flat", description="edited here")
    write(folder, "flat.yaml", FLAT + "queue: {limit: 9}\n")

    sync(folder, take=take)

    assert get_profile("flat").queue_limit == limit
    assert file_state(get_profile("flat"), folder) == state


def test_both_sides_edited_to_the_same_is_no_conflict(folder: Path) -> None:
    edit("flat", description="new")
    text = "name: Flat\ndescription: new\nenabled_models: [a_fast]\n"
    write(folder, "flat.yaml", text)

    assert sync(folder) == Synced(updated=["flat"])

    assert get_profile("flat").yaml == text


def test_a_file_that_has_gone_takes_no_profile_with_it(folder: Path) -> None:
    (folder / "flat.yaml").unlink()

    assert sync(folder) == Synced(gone=["flat"])
    assert file_state(get_profile("flat"), folder) == FileState.FILE_GONE


def test_a_write_that_fails_leaves_the_old_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    profile = edit("flat", description="edited here")
    monkeypatch.setattr("os.fsync", fail)

    with pytest.raises(OSError, match="No space"):
        write_file(profile, folder)

    assert [path.name for path in folder.iterdir()] == ["flat.yaml"]
    assert (folder / "flat.yaml").read_text() == FLAT


def test_a_rollback_to_what_the_file_says_agrees_with_it_again(folder: Path) -> None:
    edit("flat", description="edited here")

    roll_back("flat", 1)

    assert file_state(get_profile("flat"), folder) == FileState.SAME
