"""Servers, their events, nodes and builds in the admin: what is shown, and who may ask."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from servers_app.keys import server_key
from servers_app.models import EngineBuild, Node, Server, ServerEvent, ServerState, Wanted
from tests.conftest import MakeModel, MakeServer
from tests.servers_app.scripted_worker import ScriptedWorker

pytestmark = pytest.mark.django_db

LIST = "admin:servers_app_server_changelist"
READY = {"wanted": Wanted.RUNNING, "state": ServerState.READY, "pid": 4242}


@pytest.fixture(autouse=True)
def worker(monkeypatch: pytest.MonkeyPatch) -> ScriptedWorker:
    return ScriptedWorker(monkeypatch)


@pytest.fixture(autouse=True)
def _own_data(settings: Settings, tmp_path: Path) -> None:
    settings.MAGI_DATA_DIR = tmp_path


@pytest.fixture
def viewer(client: Client) -> Client:
    """A client of somebody who may look at servers, and no more."""
    user = User.objects.create_user("bob", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_server"))
    client.force_login(user)
    return client


def page_of(client: Client, server: Server) -> str:
    page = reverse("admin:servers_app_server_change", args=[server.pk])
    return client.get(page).content.decode()


def ask(client: Client, server: Server, what: str) -> int:
    url = reverse("admin:servers_app_server_ask", args=[server.pk])
    return client.post(url, {"ask": what}).status_code


# -- what is shown


def test_the_list_shows_what_each_is_and_what_it_waits_for(
    admin_client: Client, make_model: MakeModel, make_server: MakeServer
) -> None:
    make_server(
        make_model("runs"),
        **READY,
        replica=1,
        launched_at=timezone.now() - timedelta(hours=2, minutes=3),
        memory_mib=1900,
        peak_mib=1234,
    )
    make_server(
        make_model("loads"),
        wanted=Wanted.RUNNING,
        state=ServerState.STARTING,
        load_progress=0.42,
        note="loading the weights",
        port=8081,
    )
    make_server(make_model("offered"), on_request=True)

    page = admin_client.get(reverse(LIST)).content.decode()

    for text in ("RUNS (replica 1)", "4242", "2 h 3 min", "1,900 / 1,234", "On request"):
        assert text in page
    assert '<progress class="magi-load" max="100" value="42">' in page
    assert "loading the weights" in page


def test_the_page_of_a_failed_server_says_first_what_to_do(
    admin_client: Client, make_server: MakeServer
) -> None:
    server = make_server(
        wanted=Wanted.RUNNING,
        state=ServerState.FAILED,
        exit_code=-9,
        last_error="<b>No memory.</b> Give it a smaller ctx_size.",
        next_start_at=timezone.now() + timedelta(seconds=90),
        log_tail="its last line",
    )

    page = page_of(admin_client, server)

    trouble = page[page.index("magi-trouble") : page.index("What is wanted")]
    assert "&lt;b&gt;No memory.&lt;/b&gt; Give it a smaller ctx_size." in trouble
    assert "It was ended by signal 9 (SIGKILL)." in trouble
    assert "It is tried again at 20" in trouble
    assert "its last line" in page


def test_the_page_shows_the_command_as_a_shell_takes_it(
    admin_client: Client, make_server: MakeServer
) -> None:
    server = make_server(argv=["llama-server", "--model", "/my models/a.gguf"])

    page = page_of(admin_client, server)

    parts = ("llama-server", "--model", "&#x27;/my models/a.gguf&#x27;")
    shown = " ".join(f"<span>{part}</span>" for part in parts)
    assert f'<pre class="magi-command">{shown}</pre>' in page


def test_the_page_shows_the_newest_hundred_events_and_no_key(
    admin_client: Client, make_server: MakeServer
) -> None:
    server = make_server(state=ServerState.FAILED)
    Server.objects.update(last_error=f"key {server_key(server.pk)}")
    for number in range(101):
        ServerEvent.objects.create(server=server, who="ada", why=f"event {number}.")

    page = page_of(admin_client, server)

    assert "event 100." in page
    assert "event 1." in page
    assert "event 0." not in page
    assert server_key(server.pk) not in page


def test_no_page_has_script_or_style_of_its_own(
    admin_client: Client, make_server: MakeServer
) -> None:
    server = make_server(wanted=Wanted.RUNNING, state=ServerState.STARTING, load_progress=0.5)

    for page in (
        page_of(admin_client, server),
        admin_client.get(reverse(LIST)).content.decode(),
    ):
        assert "style=" not in page
        assert "<style" not in page
        assert "onclick" not in page


def test_a_server_that_is_gone_leads_to_the_index(admin_client: Client) -> None:
    response = admin_client.get(reverse("admin:servers_app_server_change", args=[999]))

    assert response.status_code == 302


def test_events_nodes_and_builds_are_listed_and_only_shown(
    admin_client: Client, make_server: MakeServer
) -> None:
    event = ServerEvent.objects.create(
        server=make_server(), who="ada", from_state="starting", to_state="ready", seconds=1.53
    )
    node = Node.objects.create(
        name="attic",
        heartbeat_at=timezone.now(),
        hardware={
            "cpu": "Ryzen",
            "physical_cores": 8,
            "total_bytes": 64 * 2**30,
            "available_bytes": 20 * 2**30,
            "gpus": [{"name": "RTX", "total_bytes": 24 * 2**30, "free_bytes": 2**30}],
            "notes": ["GPU 1 is left out."],
        },
    )
    build = EngineBuild.objects.create(
        node="attic",
        path="/opt/llama-server",
        build=11434,
        flags={"--port": "PORT"},
        devices=[{"name": "CUDA0", "description": "RTX", "total_mib": 24000}],
        problem="it is older than b8146",
    )
    told = {
        event: ("starting → ready", "1.5 s", "ada"),
        node: ("Alive", "8 cores, Ryzen", "20.0 / 64.0 GiB", "RTX: 1.0 / 24.0 GiB"),
        build: ("11434", "CUDA0 RTX, 24,000 MiB", "it is older than b8146"),
    }

    for row, texts in told.items():
        name = f"admin:servers_app_{row._meta.model_name}"
        listed = admin_client.get(reverse(f"{name}_changelist")).content.decode()
        shown = admin_client.get(reverse(f"{name}_change", args=[row.pk])).content.decode()
        for text in texts:
            assert text in listed
        assert "_save" not in shown
        assert admin_client.get(reverse(f"{name}_add")).status_code == 403
        assert admin_client.post(reverse(f"{name}_delete", args=[row.pk])).status_code == 403


def test_a_node_that_has_said_nothing_yet_is_shown(admin_client: Client) -> None:
    Node.objects.create(name="new")

    page = admin_client.get(reverse("admin:servers_app_node_changelist")).content.decode()

    assert "Not seen lately" in page


@pytest.mark.parametrize("model", ["server", "serverevent"])
def test_a_list_costs_the_same_with_more_rows(
    admin_client: Client,
    make_model: MakeModel,
    make_server: MakeServer,
    django_assert_max_num_queries: DjangoAssertNumQueries,
    model: str,
) -> None:
    for number, name in enumerate("abcdef"):
        server = make_server(make_model(name), **READY, port=8080 + number)
        ServerEvent.objects.create(server=server, why=name)

    with django_assert_max_num_queries(9):
        admin_client.get(reverse(f"admin:servers_app_{model}_changelist"))


def test_the_events_of_one_server_are_a_link_away(
    admin_client: Client, make_model: MakeModel, make_server: MakeServer
) -> None:
    server, other = make_server(make_model("a")), make_server(make_model("b"))
    ServerEvent.objects.create(server=server, why="of this one")
    ServerEvent.objects.create(server=other, why="of another")
    link = reverse("admin:servers_app_serverevent_changelist")
    link += f"?server__id__exact={server.pk}"

    events = admin_client.get(link).content.decode()

    assert link in page_of(admin_client, server)
    assert "of this one" in events
    assert "of another" not in events


# -- what is asked


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


@pytest.mark.parametrize("what", ["start", "stop", "stop_selected_at_once", "restart"])
def test_the_actions_ask_for_all_that_are_selected(
    admin_client: Client, make_model: MakeModel, make_server: MakeServer, what: str
) -> None:
    servers = [
        make_server(make_model("a"), **READY, port=8080),
        make_server(make_model("b"), **READY, port=8081, replica=1),
    ]
    action = what if what.endswith("once") else f"{what}_selected"

    response = admin_client.post(
        reverse(LIST),
        {"action": action, "_selected_action": [server.pk for server in servers]},
        follow=True,
    )

    assert "B (replica 1)." in response.content.decode()
    assert set(Server.objects.values_list("asked_by", flat=True)) == {"admin"}


@pytest.mark.parametrize(
    ("fields", "labels"),
    [
        ({}, ["start"]),
        (READY, ["restart", "stop"]),
        ({"state": ServerState.FAILED, "wanted": Wanted.RUNNING}, ["start", "stop"]),
        ({"state": ServerState.FAILED}, ["start"]),
        ({"state": ServerState.STOPPING, "pid": 1}, ["start"]),
    ],
)
def test_the_buttons_are_those_that_make_sense(
    admin_client: Client, make_server: MakeServer, fields: dict[str, object], labels: list[str]
) -> None:
    make_server(**fields)

    page = admin_client.get(reverse(LIST)).content.decode()

    assert page.count('name="ask"') == len(labels)
    for label in labels:
        assert f'value="{label}" formmethod="post"' in page


def test_who_may_only_look_has_no_buttons_and_cannot_ask(
    viewer: Client, make_server: MakeServer
) -> None:
    server = make_server(**READY)

    assert 'name="ask"' not in viewer.get(reverse(LIST)).content.decode()
    assert 'name="ask"' not in page_of(viewer, server)
    assert ask(viewer, server, "stop") == 403
    viewer.post(reverse(LIST), {"action": "stop_selected", "_selected_action": [server.pk]})
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
