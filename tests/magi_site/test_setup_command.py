from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from pytest_django import Settings

from profiles_app.models import Profile
from profiles_app.services import get_profile, save_yaml

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _own_data_dir(settings: Settings, tmp_path: Path) -> None:
    settings.MAGI_DATA_DIR = tmp_path


def test_setup_imports_the_profiles_and_makes_the_admin(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    call_command("setup")

    assert Profile.objects.count() == 3
    assert get_user_model().objects.get().is_superuser
    password = (tmp_path / "admin_password").read_text().strip()
    assert f"password {password} " in capsys.readouterr().out


def test_setup_again_changes_nothing_and_shows_no_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call_command("setup")
    capsys.readouterr()

    call_command("setup")

    assert capsys.readouterr().out == ""


def test_a_profile_file_that_is_none_is_named_and_stops_nothing(
    capsys: pytest.CaptureFixture[str], settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "broken.yaml").write_text("name: [")
    settings.MAGI_PROFILES_DIR = folder

    call_command("setup")

    assert "Profile file skipped: broken.yaml: line 1: " in capsys.readouterr().out


@pytest.fixture
def profiles(settings: Settings, tmp_path: Path) -> Path:
    """A profiles folder of one file, which has been read; it uses a variable."""
    settings.MAGI_PROFILES_DIR = tmp_path
    settings.MAGI_PROFILE_VARIABLES = ("LIMIT",)
    (tmp_path / "mine.yaml").write_text("name: Mine\nqueue: {limit: '${LIMIT:-7}'}\n")
    call_command("setup")
    return tmp_path


def test_a_profile_that_was_edited_on_both_sides_is_told_and_left_alone(
    profiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_yaml("name: Mine\ndescription: here\n", slug="mine")
    (profiles / "mine.yaml").write_text("name: Mine\ndescription: there\n")

    call_command("setup")

    assert "Profile mine was edited here and in its file" in capsys.readouterr().out
    assert get_profile("mine").description == "here"


def test_a_variable_that_is_set_to_something_unusable_is_told_and_changes_nothing(
    profiles: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMIT", "many")

    call_command("setup")

    assert "A profile keeps its old values: mine: line 2: queue.limit" in " ".join(
        capsys.readouterr().out.split()
    )
    assert get_profile("mine").queue_limit == 7


def test_a_broken_file_of_presets_is_told_and_stops_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "presets.toml").write_text("[performance_profiles")
    monkeypatch.setattr("profiles_app.presets.SHIPPED_FILE", tmp_path / "presets.toml")

    call_command("setup")

    assert "No presets were made: presets.toml" in capsys.readouterr().out
