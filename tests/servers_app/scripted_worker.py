"""A worker that settles servers on their rows alone, at once, as the test says."""

from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from servers_app.models import Server, ServerState, Wanted
from tests.pings import pongs

Fields = dict[str, object]


def is_as_wanted(server: Server) -> Fields:
    """Return what a worker writes that has no trouble."""
    now = timezone.now()
    if server.wanted == Wanted.STOPPED:
        return {
            "state": ServerState.STOPPED,
            "stopped_at": now,
            "pid": None,
            "port": None,
            "exit_code": 0,
        }
    if server.state == ServerState.READY and not server.is_restart_due:
        return {}
    return {
        "state": ServerState.READY,
        "pid": 4242 + server.pk,
        "launched_at": now,
        "ready_at": now + timedelta(seconds=1.5),
    }


def fails(**more: object) -> Callable[[Server], Fields]:
    """Return a function for a worker whose llama-servers end by themselves."""

    def settle(_server: Server) -> Fields:
        return {
            "state": ServerState.FAILED,
            "stopped_at": timezone.now(),
            "port": None,
            "exit_code": 1,
            "last_error": "This llama-server does not know --bogus.",
            "log_tail": "loading\nerror: invalid argument: --bogus",
            **more,
        }

    return settle


class ScriptedWorker:
    """What answers pings and takes `settle`; `does` says what it writes, None: nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.does: Callable[[Server], Fields] | None = is_as_wanted
        self.away: Collection[str] = ()  # nodes without a worker
        self.has_queue = True
        self.settled: list[int] = []
        monkeypatch.setattr("celery.app.control.Control.broadcast", self._ping)
        monkeypatch.setattr("servers_app.tasks.settle.apply_async", self._settle)
        monkeypatch.setattr("servers_app.ports.is_bindable", lambda *_args: True)

    def _ping(self, *_args: object, pattern: str, **_options: object) -> list[dict[str, Any]]:
        if not self.has_queue:
            raise OperationalError
        return pongs(pattern=pattern, away=self.away)

    def _settle(self, args: tuple[int], **_options: Any) -> None:
        if not self.has_queue:
            raise OperationalError
        (server_id,) = args
        self.settled.append(server_id)
        with transaction.atomic():  # one at a time works on a server, as with a worker
            server = Server.objects.select_for_update().get(pk=server_id)
            if self.does is not None and server.node not in self.away:
                fields = self.does(server)
                Server.objects.filter(pk=server_id).update(**fields)
