"""Servers, their events, nodes and builds in the admin: what is shown, and who may ask."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from servers_app.keys import server_key
from servers_app.models import EngineBuild, Node, Server, ServerEvent, ServerState, Wanted
from servers_app.request_models import RequestRecord
from tests.conftest import MakeModel, MakeServer

pytestmark = pytest.mark.django_db

LIST = "admin:servers_app_server_changelist"
READY = {"wanted": Wanted.RUNNING, "state": ServerState.READY, "pid": 4242}


@pytest.fixture(autouse=True)
def _own_data(settings: Settings, tmp_path: Path) -> None:
    settings.MAGI_DATA_DIR = tmp_path


def page_of(client: Client, server: Server) -> str:
    page = reverse("admin:servers_app_server_change", args=[server.pk])
    return client.get(page).content.decode()


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
        facts={"total_slots": 4},
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

    for text in (
        "RUNS (replica 1)",
        "4242",
        "2 h 3 min",
        ">1,900<",
        "seen 1,234",
        "wanted on request",
        "? / 4",
    ):
        assert text in page
    assert '<progress class="magi-load" max="100" value="42"' in page
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

    trouble = page[page.index('class="magi-trouble') : page.index("What is wanted")]
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


def test_the_page_shows_the_newest_thirty_events_and_no_key(
    admin_client: Client, make_server: MakeServer
) -> None:
    server = make_server(state=ServerState.FAILED)
    Server.objects.update(last_error=f"key {server_key(server.pk)}")
    for number in range(31):
        ServerEvent.objects.create(server=server, who="ada", why=f"event {number}.")

    page = page_of(admin_client, server)

    assert "event 30." in page
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


def test_the_page_says_what_is_wanted_what_is_and_what_it_came_to(
    admin_client: Client, make_server: MakeServer
) -> None:
    server = make_server(
        **READY,
        asked_by="ada",
        asked_why="in the admin",
        requested_at=timezone.now() - timedelta(minutes=5),
        facts={"n_ctx": 8192, "total_slots": 4, "modalities": {"vision": True}, "shape": "x=1"},
        memory_mib=1900,
        peak_mib=1234,
    )
    for tokens in (7, 5):
        RequestRecord.objects.create(
            request_id=f"r{tokens}",
            at=timezone.now() - timedelta(minutes=tokens),
            model_id=server.model.model_id,
            server_id=server.pk,
            outcome="ok",
            completion_tokens=tokens,
        )

    page = page_of(admin_client, server)

    for label, value in {
        "Wanted": "Running",
        "Asked by": "ada",
        "PID": "4242",
        "Memory counted for it": "1,900 MiB",
        "Most memory seen": "1,234 MiB",
        "Context of a slot, tokens": "8,192",
        "Takes": "text, vision",
        "Requests": "2",
        "Completion tokens": "12",
    }.items():
        assert f"<dt>{label}</dt><dd>{value}</dd>" in page
    assert "5 min 0 s ago" in page
    assert "x=1" not in page


def test_a_log_that_is_here_is_followed_and_one_elsewhere_is_named(
    admin_client: Client, make_model: MakeModel, make_server: MakeServer, settings: Settings
) -> None:
    here = make_server(make_model("here"), node=settings.MAGI_NODE, replica=1)
    away = make_server(make_model("away"), node="studio", log_tail="how it ended")

    page = page_of(admin_client, here)
    assert 'data-stream="/api/models/servers/here/logs?replica=1"' in page

    page = page_of(admin_client, away)
    assert "data-stream" not in page
    assert f"on node studio: servers/{away.pk}/server.log" in page
    assert "how it ended" in page


@pytest.mark.parametrize(
    ("kind", "query", "told"),
    [
        ("server", "", "A server is made when a model is first started"),
        ("server", "?state=ready", "No server is like that."),
        ("serverevent", "", "Nothing has happened yet."),
        ("serverevent", "?q=nobody", "No event is like that."),
        ("enginebuild", "", "No engine has been asked yet."),
        ("enginebuild", "?q=nothing", "No engine is like that."),
    ],
)
def test_an_empty_list_says_what_to_do_first(
    admin_client: Client, kind: str, query: str, told: str
) -> None:
    page = admin_client.get(reverse(f"admin:servers_app_{kind}_changelist") + query)

    assert told in page.content.decode()


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
        event: ("starting →", ">ready</span>", "1.5 s", "ada"),
        node: ("Alive", "8 cores, Ryzen", "20.0 / 64.0 GiB", "RTX: 1.0 / 24.0 GiB"),
        build: ("11434", "CUDA0 RTX, 24,000 MiB", "it is older than b8146. Mend or replace"),
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

    assert "Silent" in page


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
