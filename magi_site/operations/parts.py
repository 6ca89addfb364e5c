"""The parts of MAGI, each with a look that says how it is now.

A look may hang; magi_site/operations/looks.py does not wait for it.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import connection
from django.db.models import Count, Q
from django.utils import timezone
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from magi_site.operations.component import Component, Health
from magi_site.operations.disk import look_at_disk
from models_app.errors import QueueUnavailableError, ScanRootError
from models_app.models import DiscoveredModel, Scan, ScanRoot, ScanState
from models_app.queue import CLUSTER, queue_of, without_worker
from models_app.scanroots import detect_kind
from profiles_app.models import Profile
from profiles_app.services import active_profile
from profiles_app.validation import validate
from servers_app.figures import name_of, span
from servers_app.following import without_key
from servers_app.models import Node, Server, ServerState, Wanted
from servers_app.node_list import warnings_of

REDIS_TIMEOUT_S: Final = 0.5
MAX_NAMED: Final = 5
FAILING: Final = (ServerState.FAILED, ServerState.UNHEALTHY)


def redis_client() -> Redis:
    """Return a client that gives up at once."""
    return Redis.from_url(
        settings.REDIS_URL,
        socket_connect_timeout=REDIS_TIMEOUT_S,
        socket_timeout=REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


def look_at_database() -> Component:
    began = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    latency_ms = _ms_since(began)
    return Component(
        Health.HEALTHY,
        f"{connection.display_name} answers after {latency_ms:g} ms.",
        {"vendor": connection.vendor, "latency_ms": latency_ms},
    )


def look_at_queue() -> Component:
    began = time.monotonic()
    try:
        with redis_client() as redis:
            redis.ping()
            latency_ms = _ms_since(began)
            queues = (queue_of(settings.MAGI_NODE), CLUSTER)
            waiting = sum(redis.llen(queue) for queue in queues)
    except (RedisError, OSError):
        return Component(
            Health.UNAVAILABLE,
            str(QueueUnavailableError()),
            {"latency_ms": None, "waiting_tasks": None},
        )
    return Component(
        Health.HEALTHY,
        f"Redis answers after {latency_ms:g} ms; {_many(waiting, 'task')} of this node wait.",
        {"latency_ms": latency_ms, "waiting_tasks": waiting},
    )


def look_at_nodes() -> Component:
    """Ask every node's worker, and hold that against its heartbeat.

    A node that is away is missed while something is expected of it: a server that should
    run there, or a scan root.
    """
    rows = {node.name: node for node in Node.objects.all()}
    expected = {
        settings.MAGI_NODE,
        *ScanRoot.objects.filter(is_enabled=True).values_list("node", flat=True),
    }
    if any(row.is_alive for row in rows.values()):
        # A machine of web processes has the folders of its settings, and never had a worker.
        expected &= rows.keys()
    expected.update(Server.objects.filter(wanted=Wanted.RUNNING).values_list("node", flat=True))
    names = sorted(expected | rows.keys())
    try:
        away: Collection[str] | None = without_worker(names)
    except QueueUnavailableError:
        away = None  # nobody can be asked
    shown = [_node(name, rows.get(name), away, is_expected=name in expected) for name in names]
    counted = [node for node in shown if node["is_expected"] or node["is_alive"]]
    working = [node for node in counted if node["is_alive"] and node["answers"] is not False]
    figures = {"total": len(counted), "working": len(working), "nodes": shown}
    sentences = [f"{len(working)} of {_many(len(counted), 'node')} at work."]
    if away is None:
        sentences.append("Their workers cannot be asked without the queue.")
    idle = [node for node in counted if node not in working]
    sentences += [f"{node['name']} {_trouble(node)}." for node in idle[:MAX_NAMED]]
    alive = [row for row in rows.values() if row.is_alive]
    warnings = [f"{row}: {text}" for row in alive for text in warnings_of(row, len(alive))]
    sentences += warnings[:MAX_NAMED]
    if not working:
        return Component(Health.UNAVAILABLE, " ".join(sentences), figures)
    is_degraded = bool(idle) or bool(warnings) or away is None
    status = Health.DEGRADED if is_degraded else Health.HEALTHY
    return Component(status, " ".join(sentences), figures)


def look_at_registry() -> Component:
    figures = DiscoveredModel.objects.aggregate(
        models=Count("pk"),
        missing=Count("pk", filter=Q(is_missing=True)),
        broken=Count("pk", filter=~Q(problem="")),
    )
    models, missing, broken = figures["models"], figures["missing"], figures["broken"]
    if not models:
        detail = "No model is registered. Add a scan root, or put a model into one, and rescan."
        return Component(Health.DEGRADED, detail, figures)
    detail = f"{_many(models, 'model')}: {missing} without their files, {broken} broken."
    return Component(Health.DEGRADED if missing else Health.HEALTHY, detail, figures)


def look_at_servers() -> Component:
    """Look at those that should run."""
    servers = list(
        Server.objects.select_related("model")
        .defer("model__metadata", "log_tail")
        .filter(wanted=Wanted.RUNNING)
    )
    states = Counter(server.state for server in servers)
    failing = [server for server in servers if server.state in FAILING]
    figures = {
        "total": len(servers),
        "ready": states[ServerState.READY],
        "starting": states[ServerState.STARTING],
        "failing": [
            {
                "model_id": server.model.model_id,
                "node": server.node,
                "replica": server.replica,
                "state": server.state,
                "last_error": without_key(server.last_error, server) or None,
            }
            for server in failing
        ],
    }
    if not servers:
        return Component(Health.HEALTHY, "No server is wanted running.", figures)
    detail = f"{states[ServerState.READY]} of {_many(len(servers), 'server')} ready."
    if not failing:
        return Component(Health.HEALTHY, detail, figures)
    detail += f" In trouble: {_named(map(name_of, failing))}."
    is_all = len(failing) == len(servers)
    return Component(Health.UNAVAILABLE if is_all else Health.DEGRADED, detail, figures)


def look_at_profiles() -> Component:
    figures: dict[str, Any] = {"profiles": Profile.objects.count(), "active": None}
    profile = active_profile()
    if profile is None:
        detail = "No profile is active: nothing runs. Activate one."
        return Component(Health.DEGRADED, detail, figures | {"problems": [], "warnings": []})
    validation = validate(profile)
    figures |= {
        "active": profile.slug,
        "problems": list(map(str, validation.errors)),
        "warnings": list(map(str, validation.warnings)),
    }
    if validation.is_valid:
        detail = f"{profile.slug} is active, and valid."
        return Component(Health.HEALTHY, detail, figures)
    detail = f"{profile.slug} is active, with {_many(len(validation.errors), 'error')}."
    return Component(Health.DEGRADED, detail, figures)


def look_at_discovery() -> Component:
    """Look whether the scan roots of this node are there, and how the last scan ended."""
    roots = [_root(root) for root in ScanRoot.objects.filter(is_enabled=True)]
    last = Scan.objects.filter(node=settings.MAGI_NODE).first()
    unreadable = [root for root in roots if root["problem"]]
    figures = {
        "roots": roots,
        "last_scan": last and last.started_at,
        "last_scan_state": last and last.state,
    }
    if not roots:
        detail = "No scan root is enabled: no model is looked for. Set MODEL_SCAN_PATH."
        return Component(Health.DEGRADED, detail, figures)
    if unreadable:
        named = _named(f"{root['path']} ({root['problem']})" for root in unreadable)
        detail = f"{len(unreadable)} of {_many(len(roots), 'scan root')} unreadable: {named}."
        is_all = len(unreadable) == len(roots)
        return Component(Health.UNAVAILABLE if is_all else Health.DEGRADED, detail, figures)
    detail = f"{_many(len(roots), 'scan root')} readable."
    if last is None:
        return Component(Health.DEGRADED, f"{detail} None was ever scanned.", figures)
    ago = span((timezone.now() - last.started_at).total_seconds())
    detail += f" The last scan, {ago} ago, is {last.get_state_display().lower()}."
    is_sound = last.state in {ScanState.FINISHED, ScanState.RUNNING}
    return Component(Health.HEALTHY if is_sound else Health.DEGRADED, detail, figures)


LOOKS: Final[Mapping[str, Callable[[], Component]]] = {
    "registry": look_at_registry,
    "servers": look_at_servers,
    "profiles": look_at_profiles,
    "discovery": look_at_discovery,
    "queue": look_at_queue,
    "database": look_at_database,
    "disk": look_at_disk,
    "nodes": look_at_nodes,
}


def _node(
    name: str, row: Node | None, away: Collection[str] | None, *, is_expected: bool
) -> dict[str, Any]:
    silence = row and row.silence
    return {
        "name": name,
        "is_expected": is_expected,
        "is_alive": row is not None and row.is_alive,
        "answers": None if away is None else name not in away,
        "heartbeat_at": row and row.heartbeat_at,
        "heartbeat_age_seconds": silence and round(max(0.0, silence.total_seconds()), 1),
    }


def _trouble(node: Mapping[str, Any]) -> str:
    age_s = node["heartbeat_age_seconds"]
    silence = "has never said" if age_s is None else f"has not said for {span(age_s)}"
    if node["is_alive"]:
        return "has no worker that answers"
    if node["answers"]:
        return f"answers, but {silence} that it is there"
    return f"does not answer, and {silence} that it is there"


def _root(root: ScanRoot) -> dict[str, Any]:
    """Return a scan root and what is wrong with it; of another node, as its last scan said."""
    problem = root.last_error
    if root.node == settings.MAGI_NODE:
        try:
            detect_kind(Path(root.path))
        except ScanRootError as error:
            problem = error.reason
        else:
            problem = ""
    return {"node": root.node, "path": root.path, "problem": problem or None}


def _named(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - MAX_NAMED} more" if len(shown) > MAX_NAMED else ""
    return ", ".join(shown[:MAX_NAMED]) + more


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _ms_since(began: float) -> float:
    return round(1000 * (time.monotonic() - began), 1)
