"""What people ask of servers in the admin: the buttons, who may, and what asks first."""

from collections.abc import Callable, Iterator
from unittest.mock import Mock

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from servers_app.gateway.current import Running, set_current
from servers_app.models import Server, ServerState, Wanted
from tests.conftest import MakeModel, MakeServer
from tests.servers_app.scripted_worker import ScriptedWorker

pytestmark = pytest.mark.django_db

LIST = "admin:servers_app_server_changelist"
READY = {"wanted": Wanted.RUNNING, "state": ServerState.READY, "pid": 4242}


@pytest.fixture(autouse=True)
def worker(monkeypatch: pytest.MonkeyPatch) -> ScriptedWorker:
    return ScriptedWorker(monkeypatch)


@pytest.fixture
def viewer(client: Client) -> Client:
    """A client of somebody who may look at servers, and no more."""
    user = User.objects.create_user("bob", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_server"))
    client.force_login(user)
    return client


@pytest.fixture
def in_flight() -> Iterator[Callable[[dict[int, int]], None]]:
    """Say how many requests servers work on."""

    def say(requests: dict[int, int]) -> None:
        gateway = Mock(in_flight=lambda: requests, breakers=dict)
        set_current(Running(gateway, Mock()))

    yield say
    set_current(None)


def page_of(client: Client, server: Server) -> str:
    page = reverse("admin:servers_app_server_change", args=[server.pk])
    return client.get(page).content.decode()


def ask(client: Client, server: Server, what: str, **more: str) -> int:
    url = reverse("admin:servers_app_server_ask", args=[server.pk])
    return client.post(url, {"ask": what, **more}).status_code


@pytest.mark.parametrize(
    ("what", "wanted"),
    [
        ("start", "running"),
        ("restart", "running"),
        ("stop", "stopped"),
        ("stop-at-once", "stopped"),
    ],
)
def test_a_button_asks_in_the_name_of_who_pressed_it(
    admin_client: Client, make_server: MakeServer, what: str, wanted: str
) -> None:
    server = make_server(**READY, replica=1)

    assert ask(admin_client, server, what) == 302

    server.refresh_from_db()
    assert (server.wanted, server.asked_by, server.asked_why) == (
        wanted,
        "admin",
        "in the admin",
    )
    assert Server.objects.count() == 1


@pytest.mark.parametrize(("what", "is_cut"), [("stop", False), ("stop-at-once", True)])
def test_requests_in_flight_are_cut_only_by_a_stop_at_once(
    admin_client: Client, make_server: MakeServer, what: str, is_cut: bool
) -> None:
    server = make_server(**READY)

    ask(admin_client, server, what)

    server.refresh_from_db()
    assert server.drain_until is not None
    assert (server.drain_until <= timezone.now()) is is_cut


@pytest.mark.parametrize(
    "action", ["start_selected", "restart_selected", "stop_selected", "stop_selected_at_once"]
)
def test_the_actions_ask_for_all_that_are_selected(
    admin_client: Client, make_model: MakeModel, make_server: MakeServer, action: str
) -> None:
    servers = [
        make_server(make_model("a"), **READY, port=8080),
        make_server(make_model("b"), **READY, port=8081, replica=1),
    ]
    chosen = {"action": action, "_selected_action": [server.pk for server in servers]}

    response = admin_client.post(reverse(LIST), {**chosen, "confirmed": "yes"}, follow=True)

    assert "B (replica 1)." in response.content.decode()
    assert set(Server.objects.values_list("asked_by", flat=True)) == {"admin"}


@pytest.mark.parametrize(
    ("action", "told"),
    [
        ("stop_selected", "3 requests in flight may take up to 30 s more"),
        ("stop_selected_at_once", "3 requests in flight are cut"),
    ],
)
def test_a_stop_of_several_says_first_what_it_does(
    admin_client: Client,
    make_model: MakeModel,
    make_server: MakeServer,
    in_flight: Callable[[dict[int, int]], None],
    action: str,
    told: str,
) -> None:
    servers = [
        make_server(make_model("a"), **READY, port=8080),
        make_server(make_model("b"), **READY, port=8081),
    ]
    in_flight({servers[0].pk: 2, servers[1].pk: 1})
    chosen = {"action": action, "_selected_action": [server.pk for server in servers]}

    page = admin_client.post(reverse(LIST), chosen).content.decode()

    assert told in page
    for server in servers:
        assert f'<input type="hidden" name="_selected_action" value="{server.pk}">' in page
    assert {server.wanted for server in Server.objects.all()} == {Wanted.RUNNING}


def test_what_cuts_requests_asks_first_and_says_how_many(
    admin_client: Client, make_server: MakeServer, in_flight: Callable[[dict[int, int]], None]
) -> None:
    server = make_server(**READY)
    in_flight({server.pk: 1})
    url = reverse("admin:servers_app_server_ask", args=[server.pk])
    before = "http://testserver/admin/servers_app/server/?state=ready"

    asked = admin_client.post(url, {"ask": "stop-at-once"}, headers={"referer": before})

    page = asked.content.decode()
    assert "1 request in flight is cut" in page
    assert f'name="next" value="{escape(before)}"' in page
    server.refresh_from_db()
    assert server.wanted == Wanted.RUNNING

    confirmed = {"ask": "stop-at-once", "next": before, "confirmed": "yes"}
    assert admin_client.post(url, confirmed)["Location"] == before
    server.refresh_from_db()
    assert server.wanted == Wanted.STOPPED


@pytest.mark.parametrize("what", ["stop", "restart"])
def test_what_lets_requests_finish_does_not_ask(
    admin_client: Client,
    make_server: MakeServer,
    in_flight: Callable[[dict[int, int]], None],
    what: str,
) -> None:
    server = make_server(**READY)
    in_flight({server.pk: 5})

    assert ask(admin_client, server, what) == 302
    server.refresh_from_db()
    assert server.asked_by == "admin"


@pytest.mark.parametrize(
    ("fields", "labels"),
    [
        ({}, ["start"]),
        (READY, ["restart", "stop", "stop-at-once"]),
        ({"state": ServerState.FAILED, "wanted": Wanted.RUNNING}, ["start", "stop"]),
        ({"state": ServerState.FAILED}, ["start"]),
        ({"state": ServerState.STOPPING, "pid": 1}, ["start", "stop-at-once"]),
    ],
)
def test_the_buttons_are_those_that_make_sense(
    admin_client: Client, make_server: MakeServer, fields: dict[str, object], labels: list[str]
) -> None:
    make_server(**fields)

    page = admin_client.get(reverse(LIST)).content.decode()

    assert page.count('name="ask"') == len(labels)
    for label in labels:
        assert f'name="ask" value="{label}"' in page


def test_who_may_only_look_has_no_buttons_and_cannot_ask(
    viewer: Client, make_server: MakeServer
) -> None:
    server = make_server(**READY)

    assert 'name="ask"' not in viewer.get(reverse(LIST)).content.decode()
    assert 'name="ask"' not in page_of(viewer, server)
    assert ask(viewer, server, "stop") == 403
    viewer.post(
        reverse(LIST),
        {"action": "stop_selected", "_selected_action": [server.pk], "confirmed": "yes"},
    )
    server.refresh_from_db()
    assert server.wanted == Wanted.RUNNING


def test_a_bare_get_stops_nothing(admin_client: Client, make_server: MakeServer) -> None:
    server = make_server(**READY)
    url = reverse("admin:servers_app_server_ask", args=[server.pk])

    assert admin_client.get(f"{url}?ask=stop").status_code == 405
    server.refresh_from_db()
    assert server.wanted == Wanted.RUNNING


def test_a_post_without_its_token_stops_nothing(make_server: MakeServer) -> None:
    server = make_server(**READY)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.create_superuser("eve"))

    assert ask(strict, server, "stop") == 403
    server.refresh_from_db()
    assert server.wanted == Wanted.RUNNING


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("http://testserver/admin/servers_app/server/?state=ready", None),
        ("https://evil.example/", "/admin/servers_app/server/"),
    ],
)
def test_a_button_leads_back_to_the_page_that_it_is_on(
    admin_client: Client, make_server: MakeServer, before: str, after: str | None
) -> None:
    url = reverse("admin:servers_app_server_ask", args=[make_server(**READY).pk])

    response = admin_client.post(url, {"ask": "stop"}, headers={"referer": before})

    assert response["Location"] == (after or before)


def test_what_cannot_be_asked_is_said(
    admin_client: Client, make_model: MakeModel, make_server: MakeServer
) -> None:
    server = make_server(make_model("broken", problem="truncated"))
    url = reverse("admin:servers_app_server_ask", args=[server.pk])

    refused = admin_client.post(url, {"ask": "start"}, follow=True).content.decode()
    nonsense = admin_client.post(url, {"ask": "explode"}, follow=True).content.decode()

    assert "Not done: broken cannot be started: truncated." in refused
    assert "Ask for one of: start, restart, stop, stop-at-once." in nonsense


@pytest.mark.django_db(transaction=True)
def test_without_a_queue_it_is_said_that_it_is_done_later(
    admin_client: Client, make_server: MakeServer, worker: ScriptedWorker
) -> None:
    worker.has_queue = False
    url = reverse("admin:servers_app_server_ask", args=[make_server().pk])

    page = admin_client.post(url, {"ask": "start"}, follow=True).content.decode()

    assert "is done when it is back" in page
    assert Server.objects.get().wanted == Wanted.RUNNING


@pytest.mark.parametrize(
    ("next_start_at", "label"), [(timezone.now(), "Stop trying"), (None, "Leave stopped")]
)
def test_a_failed_server_can_be_kept_from_being_started_again(
    admin_client: Client, make_server: MakeServer, next_start_at: object, label: str
) -> None:
    make_server(wanted=Wanted.RUNNING, state=ServerState.FAILED, next_start_at=next_start_at)

    page = admin_client.get(reverse(LIST)).content.decode()

    assert f">{label}</button>" in page
    assert ">Drain and stop</button>" not in page
