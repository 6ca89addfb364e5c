"""Versions in the admin: what each changed, and the way back, which is asked for first."""

from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from profiles_app.models import ProfileVersion
from profiles_app.services import delete_profile, get_profile, save_yaml
from tests.profiles_app.test_profile_admin import viewer_client

pytestmark = pytest.mark.django_db

TEXT = "# mine\nname: A\nenabled_models: [x, y]\nqueue: {limit: 7}\n"


@pytest.fixture(autouse=True)
def _folder(settings: Settings, tmp_path: Path) -> None:
    settings.MAGI_PROFILES_DIR = tmp_path


def rollback_page(number: int) -> str:
    version = ProfileVersion.objects.get(number=number)
    return reverse("admin:profiles_app_profileversion_rollback", args=[version.pk])


def test_a_rollback_shows_what_it_changes_and_asks_first(admin_client: Client) -> None:
    save_yaml(TEXT)
    save_yaml(TEXT.replace("7", "8"))

    asked = admin_client.get(rollback_page(1)).content.decode()
    assert get_profile("a").queue_limit == 8
    page = admin_client.post(rollback_page(1), follow=True).content.decode()

    assert "queue: {limit: 8}" in asked
    assert "queue: {limit: 7}" in asked
    assert "Rolled back to a version 1" in page
    assert get_profile("a").queue_limit == 7


def test_a_rollback_brings_a_deleted_profile_back(admin_client: Client) -> None:
    delete_profile(save_yaml(TEXT))

    page = admin_client.get(rollback_page(1)).content.decode()
    admin_client.post(rollback_page(1))

    assert "this brings it back" in page
    assert get_profile("a").queue_limit == 7


def test_who_may_not_change_profiles_is_offered_no_rollback_and_refused_one() -> None:
    client = viewer_client()
    save_yaml(TEXT)
    save_yaml(TEXT.replace("7", "8"))
    versions = client.get(reverse("admin:profiles_app_profileversion_changelist"))

    assert "Roll back" not in versions.content.decode()
    assert client.get(rollback_page(1)).status_code == 403
    assert client.post(rollback_page(1)).status_code == 403
    assert get_profile("a").queue_limit == 8


def test_a_version_shows_how_it_differs_from_the_one_before(admin_client: Client) -> None:
    save_yaml(TEXT)
    save_yaml(TEXT.replace("7", "8"))
    second = ProfileVersion.objects.get(number=2)

    page = admin_client.get(
        reverse("admin:profiles_app_profileversion_change", args=[second.pk])
    )

    assert page.context["lines"][-2:] == [
        ("removed", "queue: {limit: 7}"),
        ("added", "queue: {limit: 8}"),
    ]
    assert "queue.limit: 7 → 8" in page.content.decode()
