"""The row of a server, as the supervisor reads and writes it; each change of state is told."""

import logging
from contextlib import suppress
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from models_app.copies import as_on
from models_app.errors import NotOnNodeError
from models_app.events import SERVER, publish
from models_app.node_address import host_to_bind
from servers_app import processes
from servers_app.models import Server, ServerEvent, ServerState, Wanted
from servers_app.processes import ProcessIdentity

log = logging.getLogger("servers_app.supervisor")

SUPERVISOR = "supervisor"  # who did what nobody asked for
MAX_NOTE_CHARS = 300
# What askers write, and is read again with each write of ours.
_ASKED = (
    "wanted", "requested_at", "restart_requested_at", "asked_by", "asked_why", "drain_until",
    "on_request", "last_used_at",
)  # fmt: skip


def load(server_id: int) -> Server | None:
    """Return a server; its model has the paths of its node, where that has files of it."""
    server = Server.objects.select_related("model__root").filter(pk=server_id).first()
    if server is not None:
        with suppress(NotOnNodeError):  # a start is refused; a stop needs no files
            server.model = as_on(server.model, server.node)
    return server


def write(server: Server, **fields: object) -> None:
    """Write the named columns and nothing else: what is wanted belongs to the askers.

    What answers a wish is never earlier than that, also where a clock was set back between.
    """
    for name, wish in (
        ("stopped_at", server.requested_at),
        ("launched_at", server.restart_requested_at),
    ):
        moment = fields.get(name)
        if isinstance(moment, datetime) and wish is not None:
            fields[name] = max(moment, wish)
    Server.objects.filter(pk=server.pk).update(**fields)
    server.refresh_from_db(fields=[*fields, *_ASKED])


def move(
    server: Server,
    state: ServerState,
    *,
    why: str = "",
    who: str = SUPERVISOR,
    **fields: object,
) -> None:
    """Write a state, with an event row if it is a new one, and tell whoever listens."""
    before, since, now = server.state, server.state_since, timezone.now()
    if state == before:
        if fields:
            write(server, **fields)
        return
    with transaction.atomic():
        write(server, state=state, state_since=now, **fields)
        ServerEvent.objects.create(
            server=server,
            who=who,
            why=why,
            from_state=before,
            to_state=state,
            seconds=(now - since).total_seconds() if since else None,
        )
    about = {"server_id": server.pk, "model": server.model.model_id, "state": state.value}
    log.info("%s: %s, was %s. %s", server, state, before, why, extra={"fields": about})
    tell(server)


def tell(server: Server) -> None:
    """Publish what pages show of a server."""
    what = {
        "model_id": server.model.model_id,
        "replica": server.replica,
        "state": server.state,
        "progress": server.load_progress,
    }
    transaction.on_commit(lambda: publish(SERVER, what))


def remark(server: Server, why: str, *, who: str = SUPERVISOR) -> None:
    """Put something into the history that is no change of state."""
    ServerEvent.objects.create(server=server, kind=ServerEvent.Kind.NOTE, who=who, why=why)
    log.warning("%s: %s", server, why)


def note(server: Server, text: str) -> None:
    """Say what the server waits for."""
    if server.note != text[:MAX_NOTE_CHARS]:
        write(server, note=text[:MAX_NOTE_CHARS])
        tell(server)


def is_wanted(server: Server) -> bool:
    """Whether it is still to run, as the database says now."""
    return Server.objects.filter(pk=server.pk, wanted=Wanted.RUNNING).exists()


def is_wanted_as_it_is(server: Server) -> bool:
    """Whether it is still to run, in the process that it has, as the database says now."""
    now = Server.objects.filter(pk=server.pk, wanted=Wanted.RUNNING)
    asked = now.only("restart_requested_at", "launched_at").first()
    return asked is not None and not asked.is_restart_due


# -- its process


def identity(server: Server) -> ProcessIdentity | None:
    if server.pid is None or server.pid_started_at is None:
        return None
    return ProcessIdentity(server.pid, server.pid_started_at, server.boot_id)


def keeper_identity(server: Server) -> ProcessIdentity | None:
    if server.keeper_pid is None or server.keeper_started_at is None:
        return None
    return ProcessIdentity(server.keeper_pid, server.keeper_started_at, server.boot_id)


def is_alive(server: Server) -> bool:
    who = identity(server)
    return who is not None and processes.find(who) is not None


def no_process() -> dict[str, Any]:
    return {
        "pid": None,
        "pid_started_at": None,
        "keeper_pid": None,
        "keeper_started_at": None,
        "boot_id": "",
        "load_progress": None,
    }


def port_of(server: Server) -> int:
    if server.port is None:
        msg = f"{server} runs without a port"  # the database forbids it
        raise AssertionError(msg)
    return server.port


def host() -> str:
    """Return where the servers of this node listen."""
    return host_to_bind()
