"""Nodes: what a worker writes of itself, and who is believed to be there."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import Settings

from magi_site.env import env_host, env_label
from models_app.node_address import host_to_bind
from servers_app import nodes
from servers_app.hardware import Gpu, Hardware
from servers_app.models import SILENCE, Node
from servers_app.nodes import alive_nodes, beat, silent_nodes
from servers_app.processes import boot_id

pytestmark = pytest.mark.django_db

Look = Callable[..., None]


@pytest.fixture
def sees(monkeypatch: pytest.MonkeyPatch) -> Look:
    """Return a function that sets what the machine is found to have."""

    def see(**fields: Any) -> None:
        values: dict[str, Any] = {
            "cpu": "AMD EPYC",
            "physical_cores": 2,
            "logical_cores": 4,
            "total_bytes": 16 * 2**30,
            "available_bytes": 8 * 2**30,
            "swap_total_bytes": 0,
            "swap_used_bytes": 0,
            "gpus": (),
            "notes": (),
            "read_at": 1_000.0,
            **fields,
        }
        monkeypatch.setattr(nodes, "read_hardware", lambda: Hardware(**values))

    return see


def test_a_beat_says_who_the_worker_is_and_what_the_machine_has(settings: Settings) -> None:
    beat()

    node = Node.objects.get()
    assert node.name == settings.MAGI_NODE
    assert node.is_alive
    assert (node.worker_pid, node.boot_id) == (os.getpid(), boot_id())
    assert node.started_at is not None
    assert node.started_at.timestamp() == pytest.approx(psutil.Process().create_time())
    assert node.address == "127.0.0.1"
    assert node.hardware["total_bytes"] > 0


def test_beats_of_one_node_are_one_row_and_the_last_one_counts() -> None:
    beat()
    Node.objects.update(heartbeat_at=timezone.now() - 2 * SILENCE, worker_pid=1)

    beat()

    node = Node.objects.get()
    assert node.is_alive
    assert node.worker_pid == os.getpid()


def test_what_is_free_is_written_once_a_minute(sees: Look) -> None:
    sees(available_bytes=8, read_at=1_000.0)
    beat()

    sees(available_bytes=7, read_at=1_059.0)
    beat()
    assert Node.objects.get().hardware["available_bytes"] == 8

    sees(available_bytes=6, read_at=1_060.0)
    beat()
    assert Node.objects.get().hardware["available_bytes"] == 6


def test_a_machine_whose_clock_was_set_back_goes_on_saying_what_is_free(sees: Look) -> None:
    sees(available_bytes=8, read_at=1_000.0)
    beat()

    sees(available_bytes=7, read_at=400.0)
    beat()

    assert Node.objects.get().hardware["available_bytes"] == 7


def test_a_gpu_that_comes_is_written_at_once_and_one_that_works_is_not(sees: Look) -> None:
    sees(read_at=1_000.0)
    beat()

    sees(read_at=1_001.0, gpus=(Gpu("NVIDIA L4", 100, free_bytes=90, used_bytes=10),))
    beat()
    sees(read_at=1_002.0, gpus=(Gpu("NVIDIA L4", 100, free_bytes=20, used_bytes=80),))
    beat()

    (gpu,) = Node.objects.get().hardware["gpus"]
    assert (gpu["name"], gpu["free_bytes"]) == ("NVIDIA L4", 90)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.1.1", "127.0.0.1"),
        ("::1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("10.0.0.7", "10.0.0.7"),
        ("box2.lan", "box2.lan"),
        ("fd00::7", "fd00::7"),
    ],
)
def test_servers_listen_on_loopback_unless_the_node_serves_others(
    settings: Settings, address: str, host: str
) -> None:
    settings.MAGI_NODE_ADDRESS = address

    beat()

    assert host_to_bind() == host
    assert Node.objects.get().address == host


def test_only_nodes_that_beat_are_alive() -> None:
    now = timezone.now()
    Node.objects.create(name="here", heartbeat_at=now - SILENCE + timedelta(seconds=5))
    Node.objects.create(name="gone", heartbeat_at=now - SILENCE)
    Node.objects.create(name="never")

    assert [node.name for node in Node.objects.all() if node.is_alive] == ["here"]


def test_the_clock_of_this_machine_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("here", 15), ("gone", 21)):
        node = Node.objects.create(name=name)
        heartbeat_at = Now() - timedelta(seconds=seconds)
        Node.objects.filter(pk=node.pk).update(heartbeat_at=heartbeat_at)

    for hours in (-5, 0, 5):
        now = datetime.now(UTC) + timedelta(hours=hours)
        monkeypatch.setattr(timezone, "now", lambda now=now: now)
        assert [node.name for node in Node.objects.all() if node.is_alive] == ["here"]
        assert [node.name for node in alive_nodes()] == ["here"]
        assert silent_nodes() == {"gone"}


def test_a_heartbeat_of_before_the_databases_clock_was_set_back_is_none() -> None:
    node = Node.objects.create(name="odd")
    Node.objects.update(heartbeat_at=Now() + timedelta(hours=1))

    assert silent_nodes() == {"odd"}
    assert not Node.objects.get(pk=node.pk).is_alive


def test_a_node_that_never_beat_is_silent() -> None:
    Node.objects.create(name="new")

    assert silent_nodes() == {"new"}
    assert not alive_nodes()


def test_a_beat_says_whether_the_node_was_silent() -> None:
    assert beat(), "it is new"
    assert not beat()
    Node.objects.update(heartbeat_at=Now() - SILENCE)
    assert beat()


def test_a_node_that_is_forgotten_in_the_moment_of_a_beat_is_known_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is no other worker that has taken its name."""
    beat()
    first = Node.objects.get()
    forgotten = iter([True])

    def is_taken(_node: Node) -> bool:
        if next(forgotten, False):
            Node.objects.all().delete()
        return False

    monkeypatch.setattr(nodes, "is_taken", is_taken)

    assert beat(), "it is new"

    again = Node.objects.get()
    assert again.is_alive
    assert again.pk != first.pk


@pytest.mark.parametrize("value", ["a b", "box@2", "box/2", "-box", ".", "box*", "x" * 64, "é"])
def test_a_name_that_is_none_stops_magi_by_name(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MAGI_NODE", value)

    with pytest.raises(ImproperlyConfigured, match=r"MAGI_NODE=.*up to 63 letters, digits"):
        env_label("MAGI_NODE", "local")


@pytest.mark.parametrize("value", ["box2", "gpu-1.lan", "my_node", "7", "x" * 63])
def test_names_of_nodes_are_taken(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MAGI_NODE", value)

    assert env_label("MAGI_NODE", "local") == value


@pytest.mark.parametrize(
    "value",
    [
        "http://10.0.0.7",
        "10.0.0.7:8080",
        "box2:80",
        "box2/x",
        "0.0.0.0",
        "::",
        "300.1.2.3",
        "a b",
    ],
)
def test_an_address_that_others_cannot_reach_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MAGI_NODE_ADDRESS", value)

    with pytest.raises(ImproperlyConfigured, match=r"MAGI_NODE_ADDRESS=.*give the host name"):
        env_host("MAGI_NODE_ADDRESS", "127.0.0.1")


@pytest.mark.parametrize("value", ["box2", "node-1.lan", "10.0.0.7", "fd00::7", "my_worker"])
def test_names_and_addresses_are_taken(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MAGI_NODE_ADDRESS", value)

    assert env_host("MAGI_NODE_ADDRESS", "127.0.0.1") == value


@pytest.mark.parametrize(
    ("name", "value"),
    [("MAGI_NODE_ADDRESS", "http://box2"), ("MAGI_MEMORY_RESERVE_MIB", "1048577")],
)
def test_a_setting_that_cannot_be_used_stops_magi_by_name(name: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=django_settings.BASE_DIR,
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.startswith(f"MAGI is not configured: {name}=")
