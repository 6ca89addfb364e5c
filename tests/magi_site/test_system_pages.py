"""The pages on MAGI itself; that their figures are right is tested with the API."""

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from magi_site.groups import OPERATOR, VIEWER, ensure_groups
from models_app.download_models import Download, DownloadSource

pytestmark = pytest.mark.django_db

HEALTH, SETTINGS = reverse("admin:system"), reverse("admin:settings")
ENDPOINTS = reverse("admin:endpoints")
PAGES = [HEALTH, SETTINGS, ENDPOINTS]


def signed_in(client: Client, group: str | None) -> Client:
    ensure_groups()
    user = User.objects.create_user(f"a {group}", is_staff=True)
    user.groups.set(Group.objects.filter(name=group))
    client.force_login(user)
    return client


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_for_those_who_may_see_servers(client: Client, page: str) -> None:
    assert client.get(page).status_code == 302  # to sign in
    assert signed_in(client, None).get(page).status_code == 403


def test_each_part_of_magi_is_told_with_its_health(client: Client) -> None:
    shown = signed_in(client, VIEWER).get(HEALTH).content.decode()

    for part in ("Registry", "Servers", "Profiles", "Discovery", "Queue", "Database", "Nodes"):
        assert f'<th scope="row">{part}</th>' in shown
    assert "magi-degraded" in shown  # nothing is set up here
    assert 'data-live-every="10"' in shown


def test_a_viewer_sees_no_button_to_rescan(client: Client) -> None:
    assert "RE-SCAN" not in signed_in(client, VIEWER).get(HEALTH).content.decode()


def test_settings_are_shown_with_where_they_come_from_and_no_secret_is(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_PORT_RANGE_START", "41234")
    settings.MODEL_PORT_RANGE_START = 41234
    shown = signed_in(client, OPERATOR).get(SETTINGS).content.decode()

    row = shown.partition('id="setting-MODEL_PORT_RANGE_START"')[2].partition("</tr>")[0]
    assert "41234" in row
    assert "environment" in row
    assert settings.SECRET_KEY not in shown
    assert str(settings.MAGI_DATA_DIR) in shown


def test_where_things_lie_is_for_those_who_may_change_servers(
    client: Client, settings: Settings
) -> None:
    shown = signed_in(client, VIEWER).get(SETTINGS).content.decode()

    assert str(settings.MAGI_DATA_DIR) not in shown


def test_without_a_gateway_the_endpoints_cannot_be_tested_and_the_page_says_so(
    client: Client,
) -> None:
    shown = signed_in(client, VIEWER).post(ENDPOINTS, follow=True).content.decode()

    assert "No gateway runs in this process." in shown


def test_each_page_says_which_time_zone_its_times_are_in(
    admin_client: Client, settings: Settings
) -> None:
    settings.TIME_ZONE = "Europe/Madrid"
    row = Download.objects.create(
        source=DownloadSource.HUB, reference="org/repo:Q8_0", node="local", asked_by="ada"
    )
    Download.objects.filter(pk=row.pk).update(asked_at=datetime(2026, 7, 1, 12, tzinfo=UTC))

    page = admin_client.get(reverse("admin:models_app_download_changelist")).content.decode()

    assert "Times are in Europe/Madrid." in page
    assert "2026-07-01 14:00<br>" in page
