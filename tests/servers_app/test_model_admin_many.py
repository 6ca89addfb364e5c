"""Actions on many models in their list, and who may do what there."""

from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from magi_site.groups import OPERATOR, VIEWER, ensure_groups
from models_app.models import DiscoveredModel, ModelKind
from profiles_app.models import Profile
from servers_app.models import Server, ServerState, Wanted
from tests.conftest import MakeModel, MakeProfile, MakeServer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queued")]

LIST = "admin:models_app_discoveredmodel_changelist"


@pytest.fixture(autouse=True)
def _every_port_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers_app.ports.is_bindable", lambda _port: True)


def member(group: str) -> Client:
    ensure_groups()
    user = User.objects.create_user("ada", is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


def save(client: Client, **sent: Any) -> str:
    """Press SAVE in the list; return the page that follows."""
    data = {"_save": "SAVE", **{name.replace("__", "-"): each for name, each in sent.items()}}
    return unescape(client.post(reverse(LIST), data, follow=True).content.decode())


# -- actions on many


def act(client: Client, action: str, *models: DiscoveredModel, **sent: str) -> str:
    data = {"action": action, "_selected_action": [model.pk for model in models], **sent}
    return unescape(client.post(reverse(LIST), data, follow=True).content.decode())


def test_the_overrides_of_many_are_set_and_taken_off(
    admin_client: Client, make_model: MakeModel
) -> None:
    a, b = make_model("a"), make_model("b", kind=ModelKind.RERANKER)

    page = act(admin_client, "tier_balanced", a, b)
    act(admin_client, "thinking_on", a, b)
    a.refresh_from_db()
    b.refresh_from_db()
    assert (a.tier_override, b.tier_override) == ("balanced", "")
    assert (a.thinking_override, b.thinking_override) == (True, True)
    assert "their kind has no tier: B" in page

    act(admin_client, "overrides_off", a, b)
    a.refresh_from_db()
    b.refresh_from_db()
    assert (a.tier_override, a.thinking_override, b.thinking_override) == ("", None, None)


def test_more_than_can_be_done_at_once_is_not_begun(
    admin_client: Client, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models_app.override_actions.MAX_AT_ONCE", 1)

    page = act(admin_client, "tier_fast", make_model("a"), make_model("b"))

    assert "Nothing was changed: select 1 models at most" in page
    assert not DiscoveredModel.objects.exclude(tier_override="").exists()


def test_servers_are_started_and_stopped_from_the_list(
    admin_client: Client, make_model: MakeModel
) -> None:
    model = make_model("m")

    act(admin_client, "start_selected", model)
    assert Server.objects.get().wanted == Wanted.RUNNING

    page = act(admin_client, "stop_selected", model)
    assert "Drain and stop: M?" in page
    assert Server.objects.get().wanted == Wanted.RUNNING  # it was only asked

    act(admin_client, "stop_selected", model, confirmed="yes")
    assert Server.objects.get().wanted == Wanted.STOPPED


def test_what_does_not_run_is_not_asked_about(
    admin_client: Client, make_model: MakeModel
) -> None:
    page = act(admin_client, "stop_selected", make_model("m"))

    assert "Nothing to stop: none of them is to run." in page


# -- who may


def test_a_viewer_sees_no_field_and_no_button(
    make_model: MakeModel, make_server: MakeServer, make_profile: MakeProfile
) -> None:
    model = make_model("m", tier_override="powerful")
    make_server(model, state=ServerState.READY)
    make_profile("mine", "m", is_active=True)
    client = member(VIEWER)

    listed = client.get(reverse(LIST)).content.decode()
    page = client.get(
        reverse("admin:models_app_discoveredmodel_change", args=[model.pk])
    ).content.decode()

    for text in (listed, page):
        for part in ("<select", 'name="enabled"', 'name="_save"', "RE-SCAN<", 'name="ask"'):
            assert part not in text, part
    assert "powerful" in listed
    assert "*</span>" in listed
    assert ">enabled</span>" in listed


def test_a_viewer_who_saves_all_the_same_is_refused(
    make_model: MakeModel, make_profile: MakeProfile
) -> None:
    model = make_model("m")
    make_profile("mine", is_active=True)
    sent = {"_save": "SAVE", f"tier-{model.pk}": "auto>fast", "enabled": [model.pk]}
    client = member(VIEWER)

    assert client.post(reverse(LIST), sent).status_code == 403
    for name in ("rescan", "start"):
        args = [model.pk] if name == "start" else []
        url = reverse(f"admin:models_app_discoveredmodel_{name}", args=args)
        assert client.post(url).status_code == 403

    model.refresh_from_db()
    assert model.tier_override == ""
    assert not Profile.objects.get().members.exists()


def test_an_operator_saves_the_list(make_model: MakeModel, make_profile: MakeProfile) -> None:
    model = make_model("m")
    profile = make_profile("mine", is_active=True)

    save(member(OPERATOR), **{f"tier__{model.pk}": "auto>balanced", "enabled": [model.pk]})

    model.refresh_from_db()
    assert model.tier_override == "balanced"
    assert profile.members.exists()
