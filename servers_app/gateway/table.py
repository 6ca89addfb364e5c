"""The routing table, as the database has it now."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from django.db import close_old_connections
from django.db.models import Q

from models_app.models import DiscoveredModel
from profiles_app.models import Profile
from profiles_app.presets import list_presets, request_defaults
from servers_app.gateway.routes import QUEUE_WAIT_S, Replica, Route, RoutingTable
from servers_app.keys import server_key
from servers_app.models import RUNNING, Node, Server, ServerState, Wanted
from servers_app.ports import LOOPBACK

# One thread: one database connection, and never two reads at once.
_reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="routing-table")

_LEAD_IN: Final = re.compile(r"(?<=\.) [^.]*:$")  # to lines that are left out
_FOLDERS: Final = re.compile(r"(?<![\w./])/(?:[^\s/]+/)*(?=[^\s/])")


async def load_table() -> RoutingTable:
    return await asyncio.get_running_loop().run_in_executor(_reader, read_table)


def read_table() -> RoutingTable:
    """Return every model that the active profile enables, or that is wanted or on request.

    The profile's models come first and in its order: `auto` tries them in turn.
    """
    close_old_connections()
    try:
        return _read_table()
    finally:
        close_old_connections()


def _read_table() -> RoutingTable:
    profile = Profile.objects.filter(is_active=True).first()
    members = list(profile.members.all()) if profile else []
    order = {member.model_id: position for position, member in enumerate(members)}
    tiers = {member.model_id: member.tier_override for member in members}
    servers = Server.objects.select_related("model").filter(
        Q(wanted=Wanted.RUNNING) | Q(on_request=True) | Q(model__model_id__in=order)
    )
    addresses = dict(Node.objects.values_list("name", "address"))
    replicas: dict[DiscoveredModel, list[Replica]] = {}
    for server in servers:
        replicas.setdefault(server.model, []).append(_replica(server, addresses))
    routes = [
        _route(model, of_model, tier=tiers.get(model.model_id) or model.tier)
        for model, of_model in replicas.items()
    ]
    routes.sort(key=lambda route: order.get(route.model_id, len(order)))
    return RoutingTable(
        {route.model_id: route for route in routes},
        profile=profile.slug if profile else None,
        preset=profile.preset if profile else "",
        presets={preset.name: request_defaults(preset) for preset in list_presets()},
        queue_wait_seconds=profile.queue_wait_seconds if profile else QUEUE_WAIT_S,
    )


def _route(model: DiscoveredModel, replicas: list[Replica], *, tier: str) -> Route:
    return Route(
        model_id=model.model_id,
        display_name=model.display_name,
        tier=tier or None,
        kind=model.kind,
        context_length=model.context_length,
        created=int(model.discovered_at.timestamp()),
        owned_by="magi",
        replicas=tuple(replicas),
    )


def _replica(server: Server, addresses: dict[str, str]) -> Replica:
    address = addresses.get(server.node, LOOPBACK)
    host = f"[{address}]" if ":" in address else address
    state = _state(server)
    return Replica(
        server_id=server.pk,
        base_url=f"http://{host}:{server.port}",
        api_key=server_key(server.pk),
        upstream_model=server.model.model_id,
        state=state,
        on_request=server.on_request,
        failure=_failure(server) if state == ServerState.FAILED else "",
    )


def _state(server: Server) -> ServerState:
    """Return what a client should take it for: where it is going counts, too."""
    if server.wanted == Wanted.STOPPED and server.state in RUNNING:
        return ServerState.STOPPING  # it gets no new request
    if server.wanted == Wanted.RUNNING and _is_coming(server):
        return ServerState.STARTING
    return ServerState(server.state)


def _is_coming(server: Server) -> bool:
    """Whether one that is wanted is about to be launched, or goes on instead of stopping."""
    if server.state == ServerState.FAILED:
        # One that failed while it loaded is tried again, too, but is not worth waiting for.
        is_restarted = server.ready_at is not None and server.next_start_at is not None
        return server.is_asked_again or is_restarted
    return server.state in (ServerState.STOPPED, ServerState.STOPPING)


def _failure(server: Server) -> str:
    """Return the first sentence on how it failed, without the folders it names."""
    first_line = server.last_error.partition("\n")[0].strip()
    for path in (server.model.file_path, server.model.blob_path, server.engine):
        if path.startswith("/"):  # these may have spaces
            first_line = first_line.replace(path, path.rpartition("/")[2])
    return _FOLDERS.sub("", _LEAD_IN.sub("", first_line))
