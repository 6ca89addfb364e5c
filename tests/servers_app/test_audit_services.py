"""Who had a server started or stopped, a model enabled, a request labelled: in the audit."""

from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from models_app.audit_models import AuditEntry
from models_app.models import Tier
from models_app.pruning import prune_missing
from servers_app import demand, requests, services
from servers_app.errors import NoFreePortError
from servers_app.models import Server, ServerState, Wanted
from servers_app.request_models import RequestRecord
from tests.conftest import MakeModel, MakeProfile, MakeServer
from tests.pings import pongs

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queued")]

MODEL = "qwen3_4p0b_q4km_fast"


@pytest.fixture(autouse=True)
def _somebody_is_at_the_terminal_and_a_worker_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers_app.ports.is_bindable", lambda _port: True)
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    monkeypatch.setattr("celery.app.control.Control.broadcast", pongs)


def told() -> list[tuple[str, str, str, str]]:
    """Return who did what to which by which door, the oldest first."""
    entries = AuditEntry.objects.exclude(action__in=["login", "password"]).order_by("pk")
    return [(entry.who, entry.via, entry.action, entry.target_name) for entry in entries]


def fields_of(action: str) -> tuple[Any, Any]:
    entry = AuditEntry.objects.get(action=action)
    return entry.before, entry.after


def ask(client: Client, server: Server, what: str) -> None:
    client.post(reverse("admin:servers_app_server_ask", args=[server.pk]), {"ask": what})


# -- by each door


def test_a_start_by_the_api_is_told(client: Client, make_model: MakeModel) -> None:
    make_model()

    client.post(
        f"/api/models/servers/{MODEL}/start?wait=0", headers={"X-Request-Id": "trace-1"}
    )

    assert told() == [("API", "api", "start", MODEL)]
    assert fields_of("start") == ({"wanted": "stopped"}, {"wanted": "running"})
    assert AuditEntry.objects.get().request_id == "trace-1"


def test_a_stop_in_the_admin_is_told(admin_client: Client, make_server: MakeServer) -> None:
    server = make_server(wanted=Wanted.RUNNING, state=ServerState.READY, on_request=True)

    ask(admin_client, server, "stop")

    assert told() == [("admin", "admin", "stop", MODEL)]
    assert fields_of("stop") == (
        {"wanted": "running", "on_request": True},
        {"wanted": "stopped", "on_request": False},
    )


def test_a_restart_by_a_command_is_told(make_server: MakeServer) -> None:
    make_server(wanted=Wanted.RUNNING, state=ServerState.READY, replica=0)

    call_command("servers", "restart", MODEL, "--no-wait")

    assert told() == [("root", "command", "restart", MODEL)]


# -- what is told, and what is not


def test_asking_for_what_is_so_already_is_not_told(make_server: MakeServer) -> None:
    server = make_server(wanted=Wanted.RUNNING, state=ServerState.READY)

    services.request_start(server.model)

    assert told() == []


def test_a_restart_of_what_is_stopped_is_a_start(make_server: MakeServer) -> None:
    services.request_restart(make_server(), who="ada")

    assert told() == [("ada", "command", "start", MODEL)]


def test_a_second_replica_is_told_by_its_number(make_model: MakeModel) -> None:
    services.request_start(make_model(), replica=1, who="ada")

    assert told() == [("ada", "command", "start", f"{MODEL} (replica 1)")]


def test_start_all_tells_of_each_server_that_it_wants_now(
    make_model: MakeModel, make_profile: MakeProfile, make_server: MakeServer
) -> None:
    make_server(make_model("a"), wanted=Wanted.RUNNING, state=ServerState.READY)
    make_model("b")
    make_model("c")
    make_profile("development", "a", "b", "c", is_active=True)

    services.request_start_all(who="ada")

    assert told() == [("ada", "command", "start", name) for name in ("b", "c")]


def test_stop_all_tells_of_each_that_may_run_no_more(
    make_model: MakeModel, make_server: MakeServer
) -> None:
    make_server(make_model("a"), wanted=Wanted.RUNNING, state=ServerState.READY)
    make_server(make_model("b"), on_request=True)
    make_server(make_model("c"))

    services.request_stop_all(who="ada")

    assert told() == [("ada", "command", "stop", name) for name in ("a", "b")]
    assert not Server.objects.filter(on_request=True).exists()


def test_a_start_that_a_request_brings_about_is_no_persons_change(
    make_server: MakeServer,
) -> None:
    assert demand.demand(make_server(on_request=True).pk)

    assert told() == []


def test_a_start_that_finds_no_port_leaves_no_entry(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers_app.ports.is_bindable", lambda _port: False)

    with pytest.raises(NoFreePortError):
        services.request_start(make_model())

    assert told() == []


def test_a_start_costs_one_entry_and_one_look(
    make_server: MakeServer, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    server = make_server(port=8080)
    model = type(server.model).objects.select_related("root").get()

    locks = connection.vendor == "postgresql"  # that nobody else places it meanwhile

    with django_assert_max_num_queries(9 + locks) as queries:
        services.request_start(model)

    written = [q["sql"] for q in queries.captured_queries if "auditentry" in q["sql"]]
    assert len(written) == 1


# -- profiles and models


def test_enabling_by_the_api_tells_of_the_model_its_profile_and_its_server(
    client: Client, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model()
    make_profile("development", is_active=True)

    client.put(
        f"/api/models/{MODEL}/enabled", {"enabled": True}, content_type="application/json"
    )

    assert told() == [
        ("API", "api", "enable", MODEL.upper()),
        ("API", "api", "update", "Development"),
        ("API", "api", "start", MODEL),
    ]
    assert fields_of("enable") == ({"enabled": False}, {"enabled": True})
    before, after = fields_of("update")
    assert before["enabled_models"] == []
    assert after["enabled_models"] == [MODEL]


def test_disabling_in_the_admin_is_told(
    admin_client: Client, make_server: MakeServer, make_profile: MakeProfile
) -> None:
    server = make_server(wanted=Wanted.RUNNING, state=ServerState.READY)
    make_profile("development", MODEL, is_active=True)

    admin_client.post(
        reverse("admin:models_app_discoveredmodel_changelist"),
        {"action": "disable_selected", "_selected_action": [server.model.pk]},
    )

    assert [(who, via, what) for who, via, what, _ in told()] == [
        ("admin", "admin", "disable"),
        ("admin", "admin", "update"),
        ("admin", "admin", "stop"),
    ]


def test_enabling_what_is_enabled_is_not_told(
    make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_profile("development", MODEL, is_active=True)

    services.set_enabled([make_model()], is_enabled=True)

    assert "enable" not in [what for _, _, what, _ in told()]


def test_an_activation_by_a_command_tells_which_was_active_before(
    make_profile: MakeProfile,
) -> None:
    make_profile("development", is_active=True)
    make_profile("production")

    call_command("profiles", "activate", "production")
    call_command("profiles", "activate", "production")

    assert told() == [("root", "command", "activate", "Production")]
    assert fields_of("activate") == ({"active": "development"}, {"active": "production"})


# -- labels, and models that have gone


def test_labels_tell_what_they_were(admin_client: Client) -> None:
    for name, label in (("a", ""), ("b", Tier.FAST), ("c", Tier.BALANCED)):
        RequestRecord.objects.create(
            request_id=name, at=timezone.now(), path="/v1/x", outcome="ok", label=label
        )

    admin_client.post(
        reverse("admin:servers_app_requestrecord_changelist"),
        {
            "action": "label_fast",
            "_selected_action": list(RequestRecord.objects.values_list("pk", flat=True)),
        },
    )

    assert sorted(told()) == [("admin", "admin", "label", name) for name in ("a", "c")]
    entry = AuditEntry.objects.get(target_id="c")
    assert (entry.before, entry.after) == ({"label": "balanced"}, {"label": "fast"})


def test_a_thousand_labels_cost_as_much_as_one(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(20):
        RequestRecord.objects.create(
            request_id=str(number), at=timezone.now(), path="/v1/x", outcome="ok"
        )

    with django_assert_max_num_queries(5):
        requests.relabel(RequestRecord.objects.all(), Tier.FAST)

    assert len(told()) == 20


def test_a_model_that_is_pruned_leaves_what_people_had_decided_of_it(
    make_model: MakeModel, make_server: MakeServer
) -> None:
    gone = make_model(is_missing=True, tier_override=Tier.POWERFUL, notes="the good one")
    make_server(gone)

    prune_missing("local", [])

    assert told() == [("root", "command", "delete", MODEL.upper())]
    assert fields_of("delete") == (
        {
            "file_path": f"/models/{MODEL}.gguf",
            "tier_override": "powerful",
            "thinking_override": None,
            "notes": "the good one",
            "port": None,
        },
        None,
    )


def test_a_model_that_is_not_pruned_leaves_no_entry(
    make_model: MakeModel, make_server: MakeServer
) -> None:
    make_server(make_model(is_missing=True), wanted=Wanted.RUNNING, state=ServerState.READY)

    prune_missing("local", [])

    assert told() == []
