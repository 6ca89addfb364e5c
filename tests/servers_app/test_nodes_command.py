"""`manage.py nodes`: what it shows, to people and to machines."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from servers_app.models import EngineBuild, Node, ServerState
from servers_app.nodes import beat
from tests.conftest import MakeModel, MakeServer

pytestmark = pytest.mark.django_db

GIB = 2**30
HARDWARE = {
    "logical_cores": 16,
    "total_bytes": 64 * GIB,
    "available_bytes": 40 * GIB,
    "gpus": [
        {"name": "NVIDIA L4 [0]", "total_bytes": 24 * GIB, "free_bytes": 20 * GIB},
        {"name": "NVIDIA T4", "total_bytes": 16 * GIB, "free_bytes": 16 * GIB},
    ],
}

Say = Callable[..., str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Say:
    """Return a function that runs the command and returns what it printed."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        call_command("nodes", *arguments)
        return capsys.readouterr().out

    return run


def test_each_node_is_shown_with_what_it_has_and_runs(
    said: Say, make_model: MakeModel, make_server: MakeServer
) -> None:
    Node.objects.create(
        name="box2",
        address="10.0.0.7",
        heartbeat_at=timezone.now(),
        hardware=HARDWARE,
        facts={"version": "0.9.0"},
    )
    for number, state in enumerate((ServerState.READY, ServerState.STARTING)):
        make_server(make_model(f"m{number}"), node="box2", state=state, port=8080 + number)
    make_server(make_model("at-rest"), node="box2", state=ServerState.STOPPED)
    EngineBuild.objects.create(node="box2", path="/usr/bin/llama-server", version="b11434")
    EngineBuild.objects.create(node="box2", path="/broken", problem="it does not run")

    first, second = said().splitlines()[1:3]

    cells = [cell.strip() for cell in first.split("  ") if cell.strip()]
    assert cells == [
        "box2",
        "10.0.0.7",
        "alive",
        "16",
        "40.0 of 64.0",
        "NVIDIA L4 [0], 20.0 of 24.0 GiB free",
        "2",
        "0",
        "0.9.0",
        "b11434",
    ]
    assert second.strip() == "NVIDIA T4, 16.0 of 16.0 GiB free"


def test_a_node_that_has_gone_is_shown_with_when_it_was_seen(said: Say) -> None:
    at = timezone.now() - timedelta(hours=1)
    Node.objects.create(name="gone", heartbeat_at=at)
    Node.objects.create(name="new")

    out = said()

    assert f"silent since {at:%Y-%m-%d %H:%M:%S}" in out
    assert "never seen" in out


def test_without_a_node_it_says_how_to_start_one(said: Say) -> None:
    assert said() == "No node has been seen yet. Start one: `manage.py run`.\n"
    assert json.loads(said("--json")) == []


def test_machines_get_all_that_a_node_says(said: Say, make_server: MakeServer) -> None:
    beat()
    make_server(state=ServerState.READY)

    (node,) = json.loads(said("--json"))

    row = Node.objects.get()
    assert (node["name"], node["is_alive"], node["servers_running"]) == ("local", True, 1)
    assert node["hardware"] == row.hardware
    assert node["worker_pid"] == row.worker_pid
    assert node["builds"] == []


def test_many_nodes_take_no_more_queries_than_one(
    said: Say, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    rows: list[Any] = [Node(name=f"box{number}") for number in range(20)]
    Node.objects.bulk_create(rows)

    with django_assert_max_num_queries(5):
        said()
