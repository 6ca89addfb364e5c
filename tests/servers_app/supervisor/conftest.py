"""Real processes under the real keeper; the program is a stand-in for llama-server."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from django.db import connection

from servers_app import services, supervisor
from servers_app.models import Server, ServerEvent, ServerState
from tests.conftest import MakeModel

PATIENCE_S = 30
SetMode = Callable[[str], None]
Settle = Callable[[Server], Server]
InBackground = Callable[[Server], threading.Thread]


@pytest.fixture
def wanted(make_model: MakeModel, stand_in: SetMode) -> Iterator[Server]:
    """A server that is wanted and not started yet; stopped after the test."""
    server = services.request_start(make_model(), who="ada")
    yield server
    os.environ["STAND_IN_MODE"] = "serve"
    for left in Server.objects.all():
        services.request_stop(left, at_once=True)
        supervisor.settle(left.pk)


@pytest.fixture
def finish(node: Path) -> Callable[[], None]:
    """Return a function that ends the request which a busy stand-in has in hand."""
    return (node / "finish").touch


def settled(server: Server) -> Server:
    supervisor.settle(server.pk)
    server.refresh_from_db()
    return server


def in_background(server: Server) -> threading.Thread:
    def settle() -> None:
        try:
            supervisor.settle(server.pk)
        finally:
            connection.close()

    thread = threading.Thread(target=settle)
    thread.start()
    return thread


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def is_gone(pid: int | None) -> bool:
    """Whether nothing runs as `pid`: in a container, nobody may reap what init adopts."""
    assert pid is not None
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def has_state(server: Server, state: ServerState) -> Callable[[], bool]:
    return lambda: Server.objects.filter(pk=server.pk, state=state).exists()


def killed(server: Server, number: int) -> Server:
    """Kill the process of a server; return the row when nobody has looked at it yet."""
    assert server.pid is not None
    pid = server.pid
    os.kill(pid, number)
    until(lambda: is_gone(pid))
    return server


def history(server: Server) -> list[tuple[str, str]]:
    """Return the states that it left and came to, in order."""
    events = ServerEvent.objects.filter(server=server, kind=ServerEvent.Kind.STATE)
    return list(events.order_by("pk").values_list("from_state", "to_state"))
