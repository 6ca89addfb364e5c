"""What is asked on the dashboard, and the pages in between."""

from unittest.mock import Mock

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from magi_site.groups import VIEWER, ensure_groups
from servers_app.gateway.current import Running, set_current
from servers_app.models import Server, ServerState, Wanted
from tests.conftest import MakeModel, MakeProfile, MakeServer

pytestmark = pytest.mark.django_db

INDEX = "admin:index"
READY = {"wanted": Wanted.RUNNING, "state": ServerState.READY, "pid": 4242}


@pytest.fixture(autouse=True)
def queued(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Take the queue's place; return the servers that are to be settled."""
    server_ids: list[int] = []
    monkeypatch.setattr(
        "servers_app.tasks.settle.apply_async",
        lambda args, **_options: server_ids.append(args[0]),
    )
    monkeypatch.setattr("servers_app.ports.is_bindable", lambda _port: True)
    return server_ids


@pytest.fixture(autouse=True)
def _no_look_at_health(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magi_site.dashboard.context.health_seen", lambda: None)


def page(client: Client, name: str) -> str:
    return client.get(reverse(f"admin:{name}")).content.decode()


def ask(client: Client, name: str, **fields: str) -> str:
    """Send a form; return the dashboard that follows."""
    response = client.post(reverse(f"admin:{name}"), fields, follow=True)
    assert response.redirect_chain == [(reverse(INDEX), 302)]
    return response.content.decode()


# -- start all, stop all


def test_what_would_be_started_is_said_first_and_then_done(
    admin_client: Client,
    make_model: MakeModel,
    make_server: MakeServer,
    make_profile: MakeProfile,
) -> None:
    make_model("new")
    make_server(make_model("runs"), **READY)
    make_model("broken", problem="shard 2 of 3 is missing")
    make_profile("mine", "new", "runs", "broken", "nowhere", is_active=True)

    said = page(admin_client, "start_all")
    assert Server.objects.filter(wanted=Wanted.RUNNING).count() == 1
    for text in ("1 server starts", "NEW", "BROKEN: shard 2 of 3 is missing.", "nowhere:",
                 "it runs already: RUNS"):  # fmt: skip
        assert text in said

    done = ask(admin_client, "start_all")
    assert Server.objects.get(model__model_id="new").wanted == Wanted.RUNNING
    assert "Wanted running: 2 servers." in done
    assert "Not started: broken:" in done


def test_without_an_active_profile_there_is_nothing_to_start(admin_client: Client) -> None:
    assert "No profile is active" in page(admin_client, "start_all")
    assert "Not started: No profile is active" in ask(admin_client, "start_all")


def test_what_would_be_stopped_is_said_first_with_the_requests_that_wait(
    admin_client: Client, make_model: MakeModel, make_server: MakeServer
) -> None:
    server = make_server(make_model("runs"), **READY)
    make_server(make_model("offered"), on_request=True)
    set_current(Running(Mock(in_flight=lambda: {server.pk: 2}), Mock()))
    try:
        said = page(admin_client, "stop_all")
    finally:
        set_current(None)

    assert Server.objects.get(pk=server.pk).wanted == Wanted.RUNNING
    for text in ("1 server stops", "RUNS", "2 requests in flight", "may take up to 30 s more",
                 "1 server that the first request would start stays stopped"):  # fmt: skip
        assert text in said


def test_all_are_stopped_when_that_was_confirmed(
    admin_client: Client, make_model: MakeModel, make_server: MakeServer
) -> None:
    for number in range(2):
        make_server(make_model(f"m{number}"), **READY, port=8080 + number)

    assert "Stopping 2 servers at once." in ask(admin_client, "stop_all", at_once="")

    assert not Server.objects.filter(wanted=Wanted.RUNNING).exists()
    assert Server.objects.filter(drain_until__lte=timezone.now()).count() == 2


def test_where_nothing_runs_there_is_nothing_to_confirm(admin_client: Client) -> None:
    said = page(admin_client, "stop_all")

    assert "Nothing to stop" in said
    assert '<button class="magi-ask is-main"' not in said


def test_the_names_of_models_are_escaped(
    admin_client: Client, make_model: MakeModel, make_server: MakeServer
) -> None:
    make_server(make_model("m", display_name="<b>bold</b>"), **READY)

    for name in ("index", "stop_all"):
        assert "<b>bold</b>" not in page(admin_client, name)


# -- another profile


def test_a_switch_leads_to_the_plan_and_changes_nothing(
    admin_client: Client, make_profile: MakeProfile
) -> None:
    make_profile("old", is_active=True)
    new = make_profile("new")

    response = admin_client.get(reverse("admin:switch_profile"), {"profile": "new"})

    assert response.headers["Location"] == f"/admin/profiles_app/profile/{new.pk}/plan/"
    new.refresh_from_db()
    assert not new.is_active


def test_a_switch_to_nowhere_comes_back_with_a_sentence(admin_client: Client) -> None:
    answer = admin_client.get(reverse("admin:switch_profile"), {"profile": "x"}, follow=True)

    assert answer.redirect_chain == [(reverse(INDEX), 302)]
    assert "Choose one of the profiles that there are." in answer.content.decode()


# -- restart all


def test_all_are_restarted_after_it_is_said_which(
    admin_client: Client, make_server: MakeServer
) -> None:
    server = make_server(**READY, launched_at=timezone.now())

    assert "1 server is launched anew" in page(admin_client, "restart_all")
    assert Server.objects.get(pk=server.pk).restart_requested_at is None

    assert "Restarting 1 server." in ask(admin_client, "restart_all")
    assert Server.objects.get(pk=server.pk).is_restart_due


# -- who may


@pytest.mark.parametrize("name", ["start_all", "stop_all", "restart_all"])
def test_a_viewer_is_refused(client: Client, name: str, make_server: MakeServer) -> None:
    server = make_server(**READY)
    ensure_groups()
    user = User.objects.create_user("vera", is_staff=True)
    user.groups.set([Group.objects.get(name=VIEWER)])
    client.force_login(user)

    assert client.post(reverse(f"admin:{name}")).status_code == 403
    assert Server.objects.get(pk=server.pk).wanted == Wanted.RUNNING
