"""The routing table, as the database has it now."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from django.db import close_old_connections
from django.db.models import Q

from models_app.models import DiscoveredModel
from profiles_app.models import Profile
from profiles_app.presets import list_presets, request_defaults
from servers_app.gateway.routes import Replica, Route, RoutingTable
from servers_app.keys import server_key
from servers_app.models import RUNNING, Server, ServerState, Wanted
from servers_app.ports import LOOPBACK

# One thread: one database connection, and never two reads at once.
_reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="routing-table")


async def load_table() -> RoutingTable:
    return await asyncio.get_running_loop().run_in_executor(_reader, read_table)


def read_table() -> RoutingTable:
    """Return every model that the active profile enables, and every other one wanted.

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
        Q(wanted=Wanted.RUNNING) | Q(model__model_id__in=order)
    )
    replicas: dict[DiscoveredModel, list[Replica]] = {}
    for server in servers:
        replicas.setdefault(server.model, []).append(_replica(server))
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


def _replica(server: Server) -> Replica:
    return Replica(
        server_id=server.pk,
        base_url=f"http://{LOOPBACK}:{server.port}",
        api_key=server_key(server.pk),
        upstream_model=server.model.model_id,
        state=_state(server),
    )


def _state(server: Server) -> ServerState:
    """Return what a client should take it for: where it is going counts, too."""
    if server.wanted == Wanted.STOPPED and server.state in RUNNING:
        return ServerState.STOPPING  # it gets no new request
    if server.wanted == Wanted.RUNNING and server.state == ServerState.STOPPED:
        return ServerState.STARTING  # asked for, and about to be launched
    return ServerState(server.state)
