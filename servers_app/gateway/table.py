"""The routing table, as the database has it now."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from django.db import close_old_connections
from django.db.models import OuterRef, Q, QuerySet, Subquery

from models_app.models import DiscoveredModel
from profiles_app.models import Profile, ProfileMember
from profiles_app.preset_models import Thinking
from profiles_app.presets import list_presets, request_defaults
from servers_app.apikeys import usable
from servers_app.gateway.access import Key
from servers_app.gateway.balancing import FIRST
from servers_app.gateway.routes import (
    DEFAULT_RULES,
    UNREACHABLE,
    Replica,
    Route,
    RoutingTable,
    TierRule,
    TwoStage,
)
from servers_app.keys import server_key
from servers_app.manager.task_scores import task_scores
from servers_app.manager_models import CurrentModel
from servers_app.models import RUNNING, Node, Server, ServerEvent, ServerState, Wanted
from servers_app.ports import LOOPBACK

# As far as the table knows, of servers on a node that is silent.
_MAY_ANSWER: Final = (ServerState.STARTING, ServerState.READY, ServerState.UNHEALTHY)


class Place(NamedTuple):
    """Where the servers of a node are reached."""

    address: str
    is_silent: bool = False


# One thread: one database connection, and never two reads at once.
_reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="routing-table")

LEAST_LOAD_S: Final = 2.0
LOAD_S_PER_GIB: Final = 2.0  # of a SATA SSD, 0.5 GiB a second
# Large, and of no use to a table that is read every second.
_UNREAD: Final = ("argv", "log_tail", "model__metadata", "model__warnings")

_LEAD_IN: Final = re.compile(r"(?<=\.) [^.]*:$")  # to lines that are left out
_FOLDERS: Final = re.compile(r"(?<![\w./])/(?:[^\s/]+/)*(?=[^\s/])")


async def load_table() -> RoutingTable:
    return await asyncio.get_running_loop().run_in_executor(_reader, read_table)


def read_table() -> RoutingTable:
    """Return every model that the active profile enables, or that is wanted or on request.

    The profile's models come first and in its order: `auto` tries them in turn. Without an
    active profile all is as in a profile of which nothing but a name is said. With them come
    the API keys that may be used, and how well the models suit each kind of task. It costs
    eight queries, or six without a profile, however many servers there are, and three more
    when those scores are worked out anew.
    """
    close_old_connections()
    try:
        return table_now()
    finally:
        close_old_connections()


def table_now() -> RoutingTable:
    """Return the same for a view of Django's, which looks after its connections itself."""
    profile = Profile.objects.filter(is_active=True).first() or Profile()
    is_saved = profile.pk is not None
    members = {member.model_id: member for member in profile.members.all()} if is_saved else {}
    order = {model_id: position for position, model_id in enumerate(members)}
    nodes = _nodes()
    servers: dict[DiscoveredModel, list[Server]] = {}
    for server in _servers(list(members)):
        servers.setdefault(server.model, []).append(server)
    routes = [
        _route(model, of_model, nodes, members.get(model.model_id))
        for model, of_model in servers.items()
    ]
    routes.sort(key=lambda route: order.get(route.model_id, len(order)))
    presets = list_presets()
    return RoutingTable(
        {route.model_id: route for route in routes},
        profile=profile.slug if is_saved else None,
        preset=profile.preset,
        presets={preset.name: request_defaults(preset) for preset in presets},
        hidden_thinking=frozenset(
            preset.name for preset in presets if preset.thinking == Thinking.HIDE
        ),
        tiers=tier_rules(profile) if is_saved else DEFAULT_RULES,
        two_stage=_two_stage(profile),
        strategy=profile.load_balancing_strategy if profile.load_balancing_enabled else FIRST,
        queue_limit=profile.queue_limit,
        queue_wait_seconds=profile.queue_wait_seconds,
        cold_wait_seconds=profile.routing_cold_wait_seconds,
        classifier=profile.routing_classifier,
        classifier_model=profile.routing_classifier_model,
        keys=_keys(),
        task_scores=task_scores(list(servers)),
        current_model=_current_model(),
    )


def _nodes() -> dict[str, Place]:
    """Return where each node is reached, by its name.

    Where there is one node alone its silence means nothing: nobody else could take its
    requests, and servers outlive a worker.
    """
    nodes = list(Node.objects.only("name", "address", "heartbeat_at"))
    return {
        node.name: Place(node.address, is_silent=len(nodes) > 1 and not node.is_alive)
        for node in nodes
    }


def _keys() -> dict[str, Key]:
    return {
        key.hash: Key(
            id=key.prefix,
            name=key.name,
            scopes=frozenset(scope.value for scope in key.scopes),
            model_ids=frozenset(key.model_ids),
            expires_at=key.expires_at.timestamp() if key.expires_at else None,
            rate_limit_per_minute=key.rate_limit_per_minute,
        )
        for key in usable()
    }


def _current_model() -> str:
    rows = CurrentModel.objects.filter(model__isnull=False)
    return rows.values_list("model__model_id", flat=True).first() or ""


def _servers(enabled: list[str]) -> QuerySet[Server]:
    """Return the servers that count, each with `loaded_s`: see `_load_seconds`."""
    loads = ServerEvent.objects.filter(
        server=OuterRef("pk"), from_state=ServerState.STARTING, to_state=ServerState.READY
    )
    return (
        Server.objects.filter(
            Q(wanted=Wanted.RUNNING) | Q(on_request=True) | Q(model__model_id__in=enabled)
        )
        .select_related("model")
        .defer(*_UNREAD)
        .annotate(loaded_s=Subquery(loads.order_by("-pk").values("seconds")[:1]))
    )


def tier_rules(profile: Profile) -> tuple[TierRule, ...]:
    return tuple(
        TierRule(rule.name, rule.max_score, rule.expected_time_seconds)
        for rule in profile.tiers.all()
    )


def _two_stage(profile: Profile) -> TwoStage | None:
    if not profile.two_stage_enabled:
        return None
    return TwoStage(
        stage1_tier=profile.two_stage_stage1_tier,
        stage2_tier=profile.two_stage_stage2_tier,
        stage1_max_tokens=profile.two_stage_stage1_max_tokens,
    )


def _route(
    model: DiscoveredModel,
    servers: list[Server],
    nodes: dict[str, Place],
    member: ProfileMember | None,
) -> Route:
    """Return the route of a model; `member` is what the active profile says of it."""
    tier = member.tier_override if member else ""
    return Route(
        model_id=model.model_id,
        display_name=model.display_name,
        tier=tier or model.tier or None,
        kind=model.kind,
        context_length=model.context_length,
        created=int(model.discovered_at.timestamp()),
        owned_by="magi",
        replicas=tuple(_replica(server, nodes) for server in servers),
        aliases=tuple(member.aliases) if member else (),
        is_thinking=model.is_thinking,
        load_seconds=max(_load_seconds(server) for server in servers),
    )


def _load_seconds(server: Server) -> float:
    """Return how long a launch is expected to take until its server is ready.

    As long as the last one that got there: from launch to readiness as its row has them,
    which a new launch empties, else the time that its history says it was starting, which
    includes a wait for memory. One that was never ready is estimated by its size.
    """
    if server.launched_at and server.ready_at and server.ready_at > server.launched_at:
        return (server.ready_at - server.launched_at).total_seconds()
    loaded_s: float | None = getattr(server, "loaded_s", None)
    if loaded_s is not None:
        return loaded_s
    return LEAST_LOAD_S + LOAD_S_PER_GIB * server.model.size_bytes / 2**30


def _replica(server: Server, nodes: dict[str, Place]) -> Replica:
    place = nodes.get(server.node, Place(LOOPBACK))
    host = f"[{place.address}]" if ":" in place.address else place.address
    is_away = place.is_silent or server.unreachable_since is not None
    state: str = _state(server)
    if is_away and server.wanted == Wanted.RUNNING and server.state in _MAY_ANSWER:
        state = UNREACHABLE
    slots = server.facts.get("total_slots")
    is_starting = state == ServerState.STARTING
    launched_at = server.launched_at
    return Replica(
        server_id=server.pk,
        base_url=f"http://{host}:{server.port}",
        api_key=server_key(server.pk),
        upstream_model=server.model.model_id,
        state=state,
        on_request=server.on_request,
        failure=_failure(server) if state == ServerState.FAILED else "",
        slots=slots if isinstance(slots, int) else 0,
        ready_at=server.ready_at.timestamp() if server.ready_at else None,
        launched_at=launched_at.timestamp() if is_starting and launched_at else None,
        progress=server.load_progress if is_starting else None,
        node=server.node,
        is_away=is_away,
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
    # On a node with a copy it lies elsewhere. From the last beginning of a path: what stands
    # before that is no part of it.
    name = re.escape(server.model.filename)
    first_line = re.sub(rf"(?<![\w./])/(?:(?! /).)*/(?={name})", "", first_line)
    return _FOLDERS.sub("", _LEAD_IN.sub("", first_line))
