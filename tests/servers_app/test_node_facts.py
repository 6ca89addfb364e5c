"""What a node's worker says that it is, for those who reckon with it from elsewhere."""

import threading
from pathlib import Path

import pytest
from pytest_django import DjangoAssertNumQueries, Settings

from servers_app import node_facts
from servers_app.models import Node
from servers_app.node_facts import FactsWriter, facts_here, key_here
from servers_app.processes import pid_namespace

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Count how often the engines are asked what they can do."""
    counted = threading.Semaphore(0)
    monkeypatch.setattr(node_facts, "_ask_all", counted.release)
    return counted


@pytest.fixture
def node(settings: Settings) -> Node:
    return Node.objects.create(name=settings.MAGI_NODE)


def test_a_node_says_what_others_reckon_with(settings: Settings, node: Node) -> None:
    settings.MODEL_PORT_RANGE_START, settings.MODEL_PORT_RANGE_END = 9000, 9010
    settings.MAGI_MEMORY_RESERVE_MIB = 512

    FactsWriter().write()

    node.refresh_from_db()
    facts = node.facts
    assert facts["version"] == settings.MAGI_VERSION
    assert facts["port_range"] == [9000, 9010]
    assert facts["cores"] >= 1
    assert facts["memory_reserve_mib"] == 512
    assert facts["run_dir"] == str(settings.MAGI_RUN_DIR)
    assert facts["pid_namespace"] == pid_namespace()
    assert isinstance(facts["tasks"], dict)


def test_engines_are_told_with_what_is_wrong_with_them(
    settings: Settings, tmp_path: Path
) -> None:
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    settings.LLAMA_SERVER_PATH = str(program)
    settings.LLAMA_SERVER_BUILDS = {"gone": tmp_path / "gone"}

    engines = facts_here()["engines"]

    assert engines[""] == {"command": [str(program)], "path": str(program), "problem": ""}
    assert engines["embedded"]["path"] == "embedded"
    assert engines["gone"]["command"] == []
    assert "is not there" in engines["gone"]["problem"]


def test_nothing_of_the_secret_key_is_told_but_whether_it_is_the_same(
    settings: Settings,
) -> None:
    settings.SECRET_KEY = "a" * 40
    first = key_here()
    settings.SECRET_KEY = "b" * 40

    assert first != key_here()
    assert len(first) == 16
    assert "b" * 4 not in str(facts_here())


def test_facts_are_written_only_when_they_change(
    node: Node,
    settings: Settings,
    asked: threading.Semaphore,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    writer = FactsWriter()
    writer.write()

    with django_assert_num_queries(1):
        writer.write()

    settings.MODEL_PORT_RANGE_END += 1
    with django_assert_num_queries(2):
        writer.write()


def test_engines_are_asked_beside_the_heartbeat_and_once(
    node: Node, settings: Settings, asked: threading.Semaphore
) -> None:
    writer = FactsWriter()
    for _ in range(3):
        writer.write()
        _finish_asking()
    settings.LLAMA_SERVER_BUILDS = {"new": Path("/opt/new")}
    writer.write()
    _finish_asking()

    assert asked.acquire(blocking=False)
    assert asked.acquire(blocking=False), "another build has come"
    assert not asked.acquire(blocking=False)


def _finish_asking() -> None:
    for thread in threading.enumerate():
        if thread.name == "ask-engines":
            thread.join()
