"""Files that run settings name lie in the scan roots, whatever links lead there."""

from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client

from models_app.models import ScanRoot
from models_app.roots import lies_in_scan_root, why_no_root
from profiles_app.errors import ProfileInvalidError
from profiles_app.filepaths import misplaced_files, why_not_launched
from profiles_app.modelpresets import validate_model
from profiles_app.models import BaseRunSettings, Profile
from profiles_app.preset_models import ModelPreset
from profiles_app.services import save_yaml
from profiles_app.validation import validate

pytestmark = pytest.mark.django_db

PROFILE = "name: P\nenabled_models: []\nrun_settings:\n  lora: [{}]\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A scan root of this machine; its sibling `outside` is none."""
    for name in ("models", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.gguf").write_bytes(b"GGUF")
    ScanRoot.objects.create(node=django_settings.MAGI_NODE, path=str(tmp_path / "models"))
    return tmp_path / "models"


def test_a_file_in_a_scan_root_is_taken(root: Path) -> None:
    values = {"lora": [str(root / "a.gguf")], "mmproj": "auto", "model_draft": None}

    assert list(misplaced_files(values)) == []
    assert why_not_launched(values) == ""
    assert save_yaml(PROFILE.format(root / "a.gguf")).run_settings["lora"]


@pytest.mark.parametrize("name", ["mmproj", "model_draft", "lora"])
@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd.gguf",
        "{root}/../outside/a.gguf",
        "{root}x/a.gguf",
        "{root}/link.gguf",
        "{root}/folder/a.gguf",
    ],
    ids=["elsewhere", "dots", "a like name", "a link", "a linked folder"],
)
def test_a_file_outside_is_neither_saved_nor_launched(root: Path, name: str, path: str) -> None:
    (root / "link.gguf").symlink_to(root.parent / "outside/a.gguf")
    (root / "folder").symlink_to(root.parent / "outside")
    given = path.format(root=root)
    values = {name: [{"path": given}] if name == "lora" else given}

    ((place, sentence),) = misplaced_files(values)

    assert place == ("lora[0]" if name == "lora" else name)
    assert sentence.startswith(f"{given} lies in no scan root.")
    assert given in why_not_launched(values)


def test_the_links_of_a_hugging_face_cache_stay_valid(root: Path) -> None:
    repo = root / "models--org--name"
    (repo / "blobs").mkdir(parents=True)
    (repo / "snapshots/abc").mkdir(parents=True)
    (repo / "blobs/0123").write_bytes(b"GGUF")
    (repo / "snapshots/abc/a.gguf").symlink_to("../../blobs/0123")

    assert lies_in_scan_root(repo / "snapshots/abc/a.gguf")


def test_a_scan_root_may_be_a_link_itself(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "models").symlink_to("disk")
    ScanRoot.objects.create(node=django_settings.MAGI_NODE, path=str(tmp_path / "models"))

    assert lies_in_scan_root(tmp_path / "models/a.gguf")
    assert lies_in_scan_root(tmp_path / "disk/a.gguf")


def test_a_root_of_another_machine_is_followed_there(root: Path) -> None:
    ScanRoot.objects.create(node="other", path="/srv/models")
    values = {"mmproj": "/srv/models/a.gguf"}

    assert list(misplaced_files(values)) == []
    assert "no scan root of this machine" in why_not_launched(values)
    assert list(misplaced_files({"mmproj": "/srv/models/../a.gguf"}))


def test_a_profile_that_names_such_a_file_is_refused_with_its_line(root: Path) -> None:
    with pytest.raises(ProfileInvalidError) as refused:
        save_yaml(PROFILE.format("/etc/passwd.gguf"))

    (problem,) = refused.value.problems
    assert (problem.line, problem.path) == (4, "run_settings.lora[0]")


def test_one_that_is_there_already_is_not_activated(root: Path) -> None:
    BaseRunSettings.objects.create(pk=1, run_settings={"lora": ["/etc/passwd.gguf"]})
    profile = Profile.objects.create(slug="p", name="P", run_settings={})

    assert validate(profile).is_valid  # it has no model that would get it


def test_a_form_of_the_admin_refuses_it(admin_client: Client, root: Path) -> None:
    answer = admin_client.post(
        "/admin/profiles_app/modelrunsettings/add/",
        {"model_id": "m", "run_settings": '{"mmproj": "/etc/passwd.gguf"}'},
    )

    assert answer.status_code == 200
    assert "lies in no scan root" in answer.content.decode()


@pytest.mark.parametrize("path", ["/", "//", "/proc", "/proc/1", "/etc", "/sys/..", "a/b"])
def test_no_part_of_the_system_becomes_a_scan_root(
    admin_client: Client, admin_user: User, path: str
) -> None:
    fields = {"node": "local", "path": path, "kind": "directory", "is_enabled": "on"}

    admin_client.post("/admin/models_app/scanroot/add/", fields)

    assert why_no_root(path)
    assert not ScanRoot.objects.exists()


def test_a_model_preset_tells_nothing_of_files_elsewhere(root: Path) -> None:
    preset = ModelPreset(name="p", weights="/etc/passwd", tokenizer=str(root / "t.spm"))

    assert validate_model(preset, is_confined=True) == [
        "weights: /etc/passwd lies in no scan root, and is not looked at"
    ]
