"""Links in the folder of profiles: none leads out of it, for reading or for writing."""

from pathlib import Path

import pytest

from profiles_app.errors import ProfileFileError
from profiles_app.files import FileState, file_state, read_text, sync, write_file
from profiles_app.models import Profile
from profiles_app.services import save_yaml

pytestmark = pytest.mark.django_db

SECRET = "name: Secret\ndescription: of another folder\nenabled_models: []\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of profiles with a link `out.yaml` that leads to a file beside it."""
    (tmp_path / "elsewhere.yaml").write_text(SECRET)
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "out.yaml").symlink_to("../elsewhere.yaml")
    return folder


def test_a_link_out_of_the_folder_is_not_read(folder: Path) -> None:
    synced = sync(folder)

    assert [str(error) for error in synced.errors] == [
        "out.yaml: is a link that leads out of the folder of profiles"
    ]
    assert not Profile.objects.exists()


@pytest.mark.parametrize("force", [False, True])
def test_nothing_is_written_through_it_nor_in_its_place(folder: Path, force: bool) -> None:
    profile = save_yaml("name: Out\nenabled_models: []\n", slug="out", is_new=True)

    with pytest.raises(ProfileFileError, match="leads out of the folder"):
        write_file(profile, folder, force=force)

    assert (folder.parent / "elsewhere.yaml").read_text() == SECRET
    assert (folder / "out.yaml").is_symlink()
    assert file_state(profile, folder) == FileState.CONFLICT


def test_a_link_to_nothing_leads_out_as_well(folder: Path) -> None:
    (folder / "new.yaml").symlink_to("../not-yet.yaml")
    profile = save_yaml("name: New\nenabled_models: []\n", slug="new", is_new=True)

    with pytest.raises(ProfileFileError):
        write_file(profile, folder)

    assert not (folder.parent / "not-yet.yaml").exists()


def test_links_within_the_folder_are_read(folder: Path) -> None:
    # As Kubernetes mounts a ConfigMap.
    (folder / "..2026").mkdir()
    (folder / "..2026/in.yaml").write_text(SECRET)
    (folder / "..data").symlink_to("..2026")
    (folder / "in.yaml").symlink_to("..data/in.yaml")

    assert read_text(folder / "in.yaml") == SECRET


def test_the_folder_may_be_a_link_itself(folder: Path) -> None:
    (folder / "plain.yaml").write_text(SECRET)
    (folder.parent / "linked").symlink_to("profiles")

    assert read_text(folder.parent / "linked/plain.yaml") == SECRET
