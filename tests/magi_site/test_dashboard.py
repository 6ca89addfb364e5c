"""The dashboard: what it shows to whom, and what it says where there is nothing yet."""

from datetime import timedelta
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from magi_site.dashboard import checkup
from magi_site.groups import OPERATOR, VIEWER, ensure_groups
from magi_site.operations.component import Component, Health
from models_app.audit_models import Action, AuditEntry, Via
from models_app.models import Scan, ScanRoot, ScanState
from profiles_app.models import ProfileMember
from servers_app.gateway.current import Running, set_current
from servers_app.models import Node, Server, ServerEvent, ServerState, Wanted
from servers_app.request_models import RequestRecord
from tests.conftest import MakeModel, MakeProfile, MakeServer

pytestmark = pytest.mark.django_db

READY = {"wanted": Wanted.RUNNING, "state": ServerState.READY, "pid": 4242}
GIB = 2**30


@pytest.fixture(autouse=True)
def health(monkeypatch: pytest.MonkeyPatch) -> dict[str, Component]:
    """Have all parts healthy, without a look at them."""
    parts = {
        name: Component(Health.HEALTHY, f"{name} is well.")
        for name in ("database", "queue", "nodes", "registry")
    }
    monkeypatch.setattr(checkup, "Checkup", lambda: SimpleNamespace(parts=lambda: parts))
    fresh = type("Fresh", (), {"seen": None, "seen_at": float("-inf")})
    monkeypatch.setattr(checkup, "_Process", fresh)
    return parts


def index(client: Client) -> str:
    return client.get(reverse("admin:index")).content.decode()


def member(group: str) -> Client:
    ensure_groups()
    user = User.objects.create_user(f"a-{group}", is_staff=True)
    user.groups.set([Group.objects.get(name=group)])
    client = Client()
    client.force_login(user)
    return client


def test_the_tiles_say_what_is_in_trouble(
    admin_client: Client, make_model: MakeModel, make_server: MakeServer
) -> None:
    make_server(make_model("a"), **READY)
    make_server(make_model("b"), wanted=Wanted.RUNNING, state=ServerState.FAILED)
    make_model("c", is_missing=True)

    tiles = admin_client.get(reverse("admin:index")).context["tiles"]

    by_label = {tile.label: tile for tile in tiles}
    assert by_label["discovered"].detail == "1 missing"
    assert by_label["ready"].detail == "1 failed or unhealthy"
    failing = admin_client.get(by_label["ready"].trouble_url)
    assert [server.model.model_id for server in failing.context["cl"].result_list] == ["b"]


def test_models_are_counted_by_the_tier_that_people_gave_them(
    admin_client: Client, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model("small")
    make_model("lifted", tier_override="powerful")
    make_model("gone", is_missing=True)
    make_model("vectors", kind="embedding", assigned_tier="")
    make_profile("mine", "small", "lifted", is_active=True)

    lines = admin_client.get(reverse("admin:index")).context["tiers"]

    assert [(line.label, line.present, line.enabled) for line in lines] == [
        ("Fast", 1, 1),
        ("Balanced", 0, 0),
        ("Powerful", 1, 1),
        ("Without a tier", 1, 0),
    ]


def test_a_server_is_shown_with_its_slots_and_how_fast_it_writes(
    admin_client: Client, make_server: MakeServer
) -> None:
    server = make_server(
        **READY,
        facts={"total_slots": 4},
        launched_at=timezone.now() - timedelta(hours=2, minutes=3),
    )
    RequestRecord.objects.create(
        request_id="r", at=timezone.now(), path="/v1/chat/completions", outcome="ok",
        server_id=server.pk, is_stream=True, first_byte_ms=500, total_ms=2500,
        completion_tokens=50,
    )  # fmt: skip
    set_current(Running(Mock(in_flight=lambda: {server.pk: 3}), Mock()))
    try:
        page = index(admin_client)
    finally:
        set_current(None)

    assert "3 / 4" in page
    assert "2 h 3 min" in page
    assert ">25.0<" in page


def test_a_stopped_server_of_the_active_profile_can_be_started_here(
    admin_client: Client,
    make_model: MakeModel,
    make_server: MakeServer,
    make_profile: MakeProfile,
) -> None:
    mine = make_server(make_model("mine"))
    make_server(make_model("other"))
    make_profile("p", "mine", is_active=True)

    page = index(admin_client)

    ask = reverse("admin:servers_app_server_ask", args=[mine.pk])
    assert f'aria-label="Start MINE" formaction="{ask}">Start</button>' in page
    assert ">OTHER<" not in page


def test_memory_is_held_against_the_profiles_budget_and_vram_against_the_device(
    admin_client: Client, make_server: MakeServer, make_profile: MakeProfile
) -> None:
    gpu = {
        "name": "RTX",
        "total_bytes": 24 * GIB,
        "used_bytes": 6 * GIB,
        "free_bytes": 18 * GIB,
    }
    hardware = {"total_bytes": 16 * GIB, "available_bytes": 4 * GIB, "gpus": [gpu]}
    Node.objects.create(name="local", heartbeat_at=timezone.now(), hardware=hardware)
    make_server(**READY, memory_mib=2000)
    make_profile("p", is_active=True, memory_budget_mib=8000)

    (node,) = admin_client.get(reverse("admin:index")).context["memory"]

    assert [(line.label, line.text) for line in node.lines] == [
        ("Counted for servers", "2,000 of 8,000 MiB"),
        ("Memory in use", "12,288 of 16,384 MiB"),
        ("VRAM", "6,144 of 24,576 MiB"),
    ]
    assert [part.width for part in node.lines[0].bar.parts] == [250]


def test_without_a_budget_servers_may_have_all_but_the_reserve(
    admin_client: Client, make_server: MakeServer, settings: Settings
) -> None:
    settings.MAGI_MEMORY_RESERVE_MIB = 1024
    hardware = {"total_bytes": 16 * GIB, "available_bytes": 4 * GIB}
    Node.objects.create(name="local", hardware=hardware)
    make_server(**READY, memory_mib=2000)

    (node,) = admin_client.get(reverse("admin:index")).context["memory"]

    assert node.lines[0].text == "2,000 of 15,360 MiB"


def test_the_newest_events_of_all_kinds_are_together(
    admin_client: Client, make_server: MakeServer
) -> None:
    ServerEvent.objects.create(
        server=make_server(), from_state="starting", to_state="ready", seconds=1.5, who="ada"
    )
    Scan.objects.create(node="local", state=ScanState.FINISHED, added=2, unchanged=5, seconds=3)
    AuditEntry.objects.create(
        who="bob", via=Via.ADMIN, action=Action.ACTIVATE, target_kind="profile",
        target_id="mine", target_name="Mine",
    )  # fmt: skip

    events = admin_client.get(reverse("admin:index")).context["events"]

    assert [(event.subject, event.text, event.who) for event in events] == [
        ("Profile Mine", "activated", "bob"),
        ("Scan of local", "7 models in 3 s: 2 new", ""),
        ("QWEN3_4P0B_Q4KM_FAST", "starting → ready after 1.5 s", "ada"),
    ]


def test_the_health_of_each_part_is_told(
    admin_client: Client, health: dict[str, Component]
) -> None:
    health["queue"] = Component(Health.UNAVAILABLE, "Redis has gone. Start it.")

    page = index(admin_client)

    assert "database is well." in page
    assert "Redis has gone. Start it." in page


# -- the first start


def test_without_models_it_says_where_it_looked_and_what_to_do(admin_client: Client) -> None:
    assert "Set MODEL_SCAN_PATH and start MAGI anew, or add a scan root" in index(admin_client)

    ScanRoot.objects.create(node="local", path="/srv/empty")

    page = index(admin_client)
    assert "No GGUF file was found in /srv/empty." in page
    assert reverse("admin:models_app_scanroot_add") in page
    get_models = reverse("admin:get_models")
    assert f'href="{get_models}">Get models</a>' in page.partition("No GGUF")[2]


def test_without_an_active_profile_it_says_that_one_is_to_be_chosen(
    admin_client: Client, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model()
    assert "There is none yet: make one." in index(admin_client)

    make_profile("mine")

    assert "Choose one above, and see its plan" in index(admin_client)


@pytest.mark.parametrize("enabled", [[], ["elsewhere"]])
def test_a_profile_that_enables_nothing_here_leads_to_the_models(
    admin_client: Client, make_model: MakeModel, make_profile: MakeProfile, enabled: list[str]
) -> None:
    make_model("here")
    profile = make_profile("mine", *enabled, is_active=True)

    assert "Mine enables no model that is here" in index(admin_client)

    ProfileMember.objects.create(profile=profile, model_id="here", position=9)

    assert "Mine enables no model" not in index(admin_client)


# -- who sees what


def test_a_viewer_sees_all_and_no_button_that_would_be_refused(
    make_server: MakeServer, make_profile: MakeProfile
) -> None:
    make_server(**READY)
    make_profile("mine", is_active=True)

    page = index(member(VIEWER))

    assert "QWEN3_4P0B_Q4KM_FAST" in page
    for refused in ("RE-SCAN HUB", "START ALL", "STOP ALL", 'name="ask"'):
        assert refused not in page


def test_an_operator_has_the_buttons(make_server: MakeServer) -> None:
    make_server(**READY)

    page = index(member(OPERATOR))

    for button in ("RE-SCAN HUB", "START ALL", "STOP ALL", 'name="ask" value="restart"'):
        assert button in page


def test_who_may_see_nothing_has_an_empty_page(
    client: Client, make_server: MakeServer, make_profile: MakeProfile
) -> None:
    make_server(**READY)
    make_profile("mine", is_active=True)
    ScanRoot.objects.create(node="local", path="/srv/secret")
    client.force_login(User.objects.create_user("bob", is_staff=True))

    response = client.get(reverse("admin:index"))

    page = response.content.decode()
    assert "Ask an admin to put it into a group." in page
    for hidden in ("QWEN3", "Mine", "/srv/secret", "magi-card", "magi-chart"):
        assert hidden not in page


# -- what it costs


def test_the_queries_do_not_grow_with_what_there_is(
    admin_client: Client,
    make_model: MakeModel,
    make_server: MakeServer,
    make_profile: MakeProfile,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    ids = [f"model-{number}" for number in range(30)]
    make_profile("mine", *ids, is_active=True)
    for number, model_id in enumerate(ids):
        server = make_server(make_model(model_id), **READY, port=8000 + number)
        ServerEvent.objects.create(server=server, to_state="ready")
        Node.objects.create(name=f"node-{number}")
        Scan.objects.create(node=f"node-{number}", state=ScanState.FINISHED)

    with django_assert_max_num_queries(30):
        index(admin_client)

    assert Server.objects.count() == 30
