"""The plan of a profile in the admin, and its activation: nothing that runs stops unseen."""

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from magi_site.groups import VIEWER, ensure_groups
from profiles_app.models import Profile
from servers_app.keys import server_key
from servers_app.models import Node, Server, ServerState, Wanted
from tests.conftest import MakeModel, MakeProfile, MakeServer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queued")]


@pytest.fixture(autouse=True)
def _every_port_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers_app.ports.is_bindable", lambda _port: True)


@pytest.fixture
def viewer() -> Client:
    ensure_groups()
    user = User.objects.create_user("eve", is_staff=True)
    user.groups.add(Group.objects.get(name=VIEWER))
    client = Client()
    client.force_login(user)
    return client


def plan_of(profile: Profile) -> str:
    return reverse("admin:profiles_app_profile_plan", args=[profile.pk])


def activate(client: Client, profile: Profile, **sent: object) -> str:
    """Press the button of a plan; return the page that follows."""
    url = reverse("admin:profiles_app_profile_activate", args=[profile.pk])
    return client.post(url, sent, follow=True).content.decode()


def test_a_plan_says_what_starts_what_stops_and_why(
    admin_client: Client,
    make_model: MakeModel,
    make_profile: MakeProfile,
    make_server: MakeServer,
) -> None:
    make_model("new")
    make_server(make_model("old"), wanted=Wanted.RUNNING, state=ServerState.READY)
    profile = make_profile("mine", "new", "elsewhere")

    response = admin_client.get(plan_of(profile))

    lines = [
        (line.wish.model.model_id, line.badge, line.why)
        for line in response.context["page"].servers
    ]
    assert lines == [
        ("old", "stops", "The profile does not enable it."),
        ("new", "starts", "The profile enables it, and it does not run."),
    ]
    page = response.content.decode()
    assert "No model here has the id elsewhere" in page
    assert "Activate with its errors" in page
    assert not Profile.objects.get().is_active


def test_a_plan_holds_the_memory_against_what_the_profile_allows(
    admin_client: Client, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model("large", size_bytes=8 * 2**30)
    profile = make_profile("mine", "large", memory_budget_mib=4096)

    page = admin_client.get(plan_of(profile)).content.decode()

    assert "Against 4,096 MiB: the profile&#x27;s budget." in page
    assert "That is too little" in page


def test_without_a_budget_it_is_held_against_what_the_machines_have(
    admin_client: Client, make_model: MakeModel, make_profile: MakeProfile, settings: Settings
) -> None:
    make_model("small")
    hardware = {"total_bytes": 8 * 2**30, "gpus": [{"total_bytes": 2**30}]}
    Node.objects.create(name=settings.MAGI_NODE, hardware=hardware)
    profile = make_profile("mine", "small")

    page = admin_client.get(plan_of(profile)).content.decode()

    assert f"Against 9,216 MiB: what {settings.MAGI_NODE} has." in page


def test_a_plan_is_activated(
    admin_client: Client, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model("here")
    profile = make_profile("mine", "here")

    page = activate(admin_client, profile, seen=profile.version)

    assert "Activated Mine: 1 servers wanted" in page
    assert "0 of 1 ready" in page
    assert Profile.objects.get().is_active
    assert Server.objects.get().wanted == Wanted.RUNNING


def test_what_stops_servers_is_activated_only_after_its_plan_was_seen(
    admin_client: Client, make_profile: MakeProfile, make_server: MakeServer
) -> None:
    server = make_server(wanted=Wanted.RUNNING, state=ServerState.READY)
    profile = make_profile("empty")

    page = activate(admin_client, profile)

    server.refresh_from_db()
    assert "was not activated yet: servers that run would stop" in page
    assert "<h1>Plan: Empty</h1>" in page
    assert server.wanted == Wanted.RUNNING
    assert not Profile.objects.get().is_active


def test_what_stops_nothing_is_activated_from_the_list(
    admin_client: Client, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model("here")
    profile = make_profile("mine", "here")
    shown = admin_client.get(reverse("admin:profiles_app_profile_changelist"))
    url = reverse("admin:profiles_app_profile_activate", args=[profile.pk])
    assert f'formaction="{url}"' in shown.content.decode()

    activate(admin_client, profile)

    assert Profile.objects.get().is_active


def test_a_plan_that_is_not_so_any_more_is_shown_again(
    admin_client: Client, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model("here")
    profile = make_profile("mine", "here", version=3)

    page = activate(admin_client, profile, seen=2)

    assert "was changed meanwhile, and not activated" in page
    assert not Profile.objects.get().is_active


def test_a_profile_with_errors_is_activated_only_when_that_is_meant(
    admin_client: Client, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model("here")
    profile = make_profile("mine", "here", "elsewhere")

    page = activate(admin_client, profile, seen=profile.version)
    assert "Profile &#x27;mine&#x27; was not activated" in page
    assert not Profile.objects.get().is_active

    page = activate(admin_client, profile, seen=profile.version, force="1")
    assert "Activated Mine: 1 servers wanted" in page
    assert Profile.objects.get().is_active


def test_the_plan_of_the_active_profile_follows_its_servers(
    admin_client: Client,
    make_model: MakeModel,
    make_profile: MakeProfile,
    make_server: MakeServer,
) -> None:
    make_server(
        make_model("a"),
        wanted=Wanted.RUNNING,
        state=ServerState.FAILED,
        last_error="No memory.",
    )
    make_server(make_model("b"), wanted=Wanted.RUNNING, state=ServerState.READY)
    profile = make_profile("mine", "a", "b", is_active=True)

    page = admin_client.get(plan_of(profile)).content.decode()

    assert "1 failed." in page
    assert "1 of 2 ready" in page
    assert "No memory." in page
    assert 'data-live="server' in page


def test_a_plan_does_not_tell_the_key_of_a_server_that_failed(
    admin_client: Client,
    make_model: MakeModel,
    make_profile: MakeProfile,
    make_server: MakeServer,
) -> None:
    server = make_server(make_model("m"), wanted=Wanted.RUNNING, state=ServerState.FAILED)
    Server.objects.update(last_error=f"refused {server_key(server.pk)}")

    page = admin_client.get(plan_of(make_profile("mine", "m"))).content.decode()

    assert "refused [its key]" in page
    assert server_key(server.pk) not in page


def test_a_viewer_sees_a_plan_and_no_button_that_would_be_refused(
    viewer: Client, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model("here")
    profile = make_profile("mine", "here")

    page = viewer.get(plan_of(profile)).content.decode()
    refused = viewer.post(reverse("admin:profiles_app_profile_activate", args=[profile.pk]))

    assert "starts" in page
    assert "/activate/" not in page
    assert refused.status_code == 403
    assert not Profile.objects.get().is_active


def test_an_activation_is_asked_for_by_post_alone(
    admin_client: Client, make_profile: MakeProfile
) -> None:
    profile = make_profile("mine")

    url = reverse("admin:profiles_app_profile_activate", args=[profile.pk])

    assert admin_client.get(url).status_code == 405
    assert not Profile.objects.get().is_active
