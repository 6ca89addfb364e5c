from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from pytest_django import Settings

from profiles_app.models import Profile

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
