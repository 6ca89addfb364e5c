"""What a worker must be before it works for its node, and the sentence where it is not."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery.signals import celeryd_after_setup
from django.conf import settings as django_settings
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import Settings

from models_app.errors import QueueUnavailableError
from models_app.models import Scan
from servers_app import joining, node_facts, nodes, processes
from servers_app.errors import NodeNotJoinedError, NodeTakenError
from servers_app.joining import (
    FIRST_SCAN_AFTER,
    LOOKED_AGAIN_AFTER,
    FirstScan,
    check_in_workers,
    check_joining,
)
from servers_app.models import SILENCE, Node
from servers_app.node_service import forget
from servers_app.nodes import beat

pytestmark = pytest.mark.django_db

MakeOther = Callable[..., Node]


@pytest.fixture
def make_other() -> MakeOther:
    """Return a function that saves this node as the worker of another machine wrote it."""

    def make(*, silent_s: float = 0, **fields: object) -> Node:
        values: dict[str, Any] = {
            "name": django_settings.MAGI_NODE,
            "address": "10.0.0.7",
            "boot_id": "another",
            "worker_pid": 7,
            "started_at": timezone.now(),
            "heartbeat_at": Now() - timedelta(seconds=silent_s),
            **fields,
        }
        return Node.objects.create(**values)

    return make


def never(_seconds: float) -> None:
    pytest.fail("nothing is to be waited for")


def test_a_worker_of_a_name_that_nobody_has_may_begin() -> None:
    check_joining(sleep=never)


def test_a_worker_that_follows_itself_may_begin() -> None:
    beat()
    Node.objects.update(worker_pid=1)

    check_joining(sleep=never)


def test_a_worker_of_another_machine_that_beats_is_not_fought(make_other: MakeOther) -> None:
    make_other(silent_s=3)

    def sleep(_seconds: float) -> None:
        Node.objects.update(heartbeat_at=Now())

    with pytest.raises(NodeNotJoinedError, match=r"node local already, at 10\.0\.0\.7"):
        check_joining(sleep=sleep)


def test_one_that_has_just_died_is_waited_for(make_other: MakeOther) -> None:
    """A node that is started anew on another machine, seconds after its end."""
    make_other(silent_s=3)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if sum(slept) == 17:
            Node.objects.update(heartbeat_at=Now() - timedelta(seconds=20))

    check_joining(sleep=sleep)

    assert sum(slept) == 17


def test_the_later_one_of_two_leaves_the_row_alone(make_other: MakeOther) -> None:
    make_other(silent_s=3)

    with pytest.raises(NodeTakenError, match="MAGI_NODE of its own"):
        beat()

    assert Node.objects.get().address == "10.0.0.7"


def test_one_that_is_silent_is_followed(make_other: MakeOther) -> None:
    make_other(silent_s=21, hardware={"memory_bandwidth_bytes_per_s": 1.0})

    assert beat(), "others may only seem to be silent"

    node = Node.objects.get()
    assert (node.address, node.boot_id) == ("127.0.0.1", processes.boot_id())
    assert "memory_bandwidth_bytes_per_s" not in {k for k, v in node.hardware.items() if v}


def test_two_on_one_machine_with_two_data_folders_are_two(settings: Settings) -> None:
    beat()
    parent = processes.identify(1)
    assert parent is not None
    Node.objects.update(
        worker_pid=1,
        started_at=datetime.fromtimestamp(parent.started_at, UTC),
        facts={"run_dir": "/elsewhere/run"},
    )

    with pytest.raises(NodeTakenError):
        beat()

    Node.objects.update(facts={"run_dir": str(settings.MAGI_RUN_DIR)})
    assert not beat()


def test_two_containers_of_one_machine_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `docker compose up --scale worker=2` makes them: neither sees the other's pids."""
    beat()
    here = processes.pid_namespace()
    for module in (nodes, node_facts):
        monkeypatch.setattr(module, "pid_namespace", lambda: here + 1)

    with pytest.raises(NodeTakenError):
        beat()
    nodes.leave()
    assert Node.objects.get().worker_pid == os.getpid(), "it is not this one's to leave"

    Node.objects.update(heartbeat_at=Now() - SILENCE)
    assert beat()
    assert Node.objects.get().facts["pid_namespace"] == here + 1
    assert not beat(), "the row is its own from the first beat on"


def test_one_whose_worker_has_left_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that is started anew: its pids are others than before."""
    beat()
    nodes.leave()
    monkeypatch.setattr(nodes, "pid_namespace", lambda: processes.pid_namespace() + 1)

    check_joining(sleep=never)
    assert not beat()


def test_another_secret_key_than_that_of_the_others_is_said() -> None:
    other = Node.objects.create(name="box2", facts={"key": "f" * 16})
    check_joining(sleep=never)  # who is not there is not asked

    Node.objects.filter(pk=other.pk).update(heartbeat_at=Now())

    with pytest.raises(NodeNotJoinedError, match="MAGI_SECRET_KEY is not that of box2"):
        check_joining(sleep=never)


def test_a_database_that_lacks_migrations_is_said(caplog: pytest.LogCaptureFixture) -> None:
    MigrationRecorder(connection).record_unapplied("servers_app", "0001_initial")

    check_joining(sleep=never)

    (message,) = caplog.messages
    assert "older than this version" in message
    assert "lacks servers_app.0001_initial. Nothing is done before manage.py migrate" in message


def test_a_newer_database_is_said_and_worked_with(caplog: pytest.LogCaptureFixture) -> None:
    """While machines are upgraded one after the other."""
    MigrationRecorder(connection).record_applied("servers_app", "9999_of_tomorrow")

    check_joining()

    (message,) = caplog.messages
    assert "newer than this version" in message
    assert "servers_app.9999_of_tomorrow" in message


def test_a_worker_that_is_refused_ends_with_the_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(celeryd_after_setup, "receivers", [])
    Node.objects.create(name="box2", facts={"key": "f" * 16}, heartbeat_at=Now())
    check_in_workers()

    with pytest.raises(SystemExit, match="cannot work for node local: its MAGI_SECRET_KEY"):
        celeryd_after_setup.send(sender="local@box")


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the nodes that a rescan is queued for."""
    names: list[str] = []
    monkeypatch.setattr(joining, "enqueue", lambda *_task, node, **_options: names.append(node))
    return names


def test_a_node_that_never_had_a_scan_gets_one(queued: list[str]) -> None:
    first_scan = FirstScan()

    for _ in range(6):
        first_scan.look()

    assert queued == ["local"]


def test_a_node_that_was_scanned_is_not_scanned_at_each_start(queued: list[str]) -> None:
    first_scan = FirstScan()
    first_scan.look()
    Scan.objects.create(node="local")  # by `manage.py run`, meanwhile

    for _ in range(6):
        first_scan.look()

    assert queued == []


def test_a_node_that_was_forgotten_while_its_worker_lived_is_scanned_again(
    queued: list[str],
) -> None:
    """It was cut off, and is back: its models are missing until somebody looks."""
    Scan.objects.create(node="local")
    Node.objects.create(name="local")
    first_scan = FirstScan()
    for _ in range(FIRST_SCAN_AFTER):
        first_scan.look()
    forget("local")

    for _ in range(LOOKED_AGAIN_AFTER):
        first_scan.look()

    assert queued == ["local"]


def test_a_first_scan_waits_for_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def enqueue(*_task: object, node: str, **_options: object) -> None:
        asked.append(node)
        if len(asked) < 3:
            raise QueueUnavailableError

    monkeypatch.setattr(joining, "enqueue", enqueue)
    first_scan = FirstScan()

    for _ in range(9):
        first_scan.look()

    assert len(asked) == 3
