"""Ports are tried where the servers of the node will listen."""

import socket
from collections.abc import Callable, Iterator

import pytest
from pytest_django import Settings

from servers_app import ports
from servers_app.ports import claim_port, is_bindable, unusable_address
from tests.conftest import MakeServer

HERE = "127.0.0.2"  # an address of this machine; all of 127 are
NOT_HERE = "192.0.2.1"  # nobody's (RFC 5737)


@pytest.fixture
def stranger() -> Iterator[int]:
    """Return the port of a program that listens on one address, and on loopback not."""
    with socket.socket() as listening:
        listening.bind((HERE, 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.django_db
def test_a_port_that_is_taken_at_the_nodes_address_is_not_claimed(
    stranger: int,
    make_server: MakeServer,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ports, "host_to_bind", lambda: HERE)
    settings.MODEL_PORT_RANGE_START, settings.MODEL_PORT_RANGE_END = stranger, stranger + 20

    assert claim_port(make_server()) > stranger


def test_a_port_of_an_ipv6_address_can_be_bound(free_port: Callable[[], int]) -> None:
    assert is_bindable(free_port(), "::1")


def test_a_port_is_not_to_blame_for_an_address_of_another_machine(
    free_port: Callable[[], int], settings: Settings
) -> None:
    settings.MAGI_NODE_ADDRESS = NOT_HERE

    assert is_bindable(free_port())
    why = unusable_address()
    assert why.startswith(f"No server can listen on {NOT_HERE}, the MAGI_NODE_ADDRESS of node")
    assert why.endswith("Set it to an address of that machine.")


def test_a_name_that_nobody_knows_is_no_address(settings: Settings) -> None:
    settings.MAGI_NODE_ADDRESS = "box2.invalid"

    assert "No server can listen on box2.invalid" in unusable_address()


def test_loopback_can_always_be_listened_on() -> None:
    assert unusable_address() == ""
