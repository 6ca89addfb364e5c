import pytest
from pytest_django import Settings

from profiles_app.errors import ProfileNotFoundError
from profiles_app.services import profile_to_load
from tests.conftest import MakeProfile

pytestmark = pytest.mark.django_db


def test_the_profile_of_the_environment_comes_first(
    make_profile: MakeProfile, settings: Settings
) -> None:
    make_profile("active", is_active=True)
    chosen = make_profile("production")
    settings.MAGI_PROFILE = "production"

    assert profile_to_load() == chosen


def test_else_the_one_that_was_active_last_is_loaded(make_profile: MakeProfile) -> None:
    make_profile("development")
    active = make_profile("mine", is_active=True)

    assert profile_to_load() == active


def test_else_it_is_development(make_profile: MakeProfile) -> None:
    development = make_profile("development")

    assert profile_to_load() == development


def test_a_missing_one_is_named(make_profile: MakeProfile, settings: Settings) -> None:
    make_profile("development")
    settings.MAGI_PROFILE = "x"

    with pytest.raises(ProfileNotFoundError, match="Profile 'x' not found"):
        profile_to_load()
