import stat
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model

from magi_site.first_admin import ensure_admin

pytestmark = pytest.mark.django_db


def test_the_first_start_makes_an_admin_whose_password_is_kept_privately(
    tmp_path: Path,
) -> None:
    password = ensure_admin(tmp_path)

    assert password
    user = get_user_model().objects.get(username="admin")
    assert user.check_password(password)
    assert user.is_superuser
    kept = tmp_path / "admin_password"
    assert kept.read_text().strip() == password
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_a_later_start_makes_none_and_shows_nothing(tmp_path: Path) -> None:
    ensure_admin(tmp_path)

    assert ensure_admin(tmp_path) is None
    assert get_user_model().objects.count() == 1


def test_a_start_that_died_before_the_account_was_made_keeps_its_password(
    tmp_path: Path,
) -> None:
    (tmp_path / "admin_password").write_text("written before the crash\n")

    assert ensure_admin(tmp_path) == "written before the crash"
