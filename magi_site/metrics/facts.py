"""What the database knows, as families of metrics: a constant number of queries."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db import connection
from django.db.models import Count, Max, Q, Sum
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from models_app.download_models import UNDER_WAY, Download, DownloadState
from models_app.models import DiscoveredModel, Scan, ScanState
from profiles_app.models import ProfileMember
from servers_app.models import SILENCE, Node, Server, ServerState, Wanted

MIB: Final = 2**20
OF_SERVER: Final = ("model", "node", "replica")
MAX_DISKS: Final = 50  # of one node
Rows = Iterable[Mapping[str, Any]]
# A series: its labels, and its value; None where there is nothing to be said.
Point = tuple[Sequence[str], float | None]


class Facts(NamedTuple):
    families: tuple[Metric, ...]
    nodes: tuple[str, ...]  # that have a row


def read_facts() -> Facts:
    """Read all of it, in eight queries.

    Raises:
        django.db.Error: the database did not answer.
    """
    began = time.monotonic()
    now = _clock()
    latency_s = time.monotonic() - began
    nodes = list(
        Node.objects.values("name", "heartbeat_at", "is_cordoned", "hardware", "facts")
    )
    families = (
        gauge(
            "magi_database_round_trip_seconds",
            "Of asking it for the time.",
            (),
            [((), latency_s)],
        ),
        *_servers(now),
        *_models(),
        *_scans(),
        *_downloads(),
        *_nodes(nodes, now),
        *_tasks(nodes),
    )
    return Facts(families, tuple(node["name"] for node in nodes))


def gauge(name: str, text: str, labels: Sequence[str], points: Iterable[Point]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in points:
        if value is not None:
            family.add_metric(values, value)
    return family


def counter(name: str, text: str, labels: Sequence[str], points: Iterable[Point]) -> Metric:
    """Return a counter; `name` is without its `_total`."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in points:
        if value is not None:
            family.add_metric(values, value)
    return family


def _clock() -> datetime:
    """Return the time by the database's own clock, by which heartbeats are written."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT CURRENT_TIMESTAMP")
        moment = cursor.fetchone()[0]
    # SQLite gives a text in UTC.
    return moment if isinstance(moment, datetime) else datetime.fromisoformat(f"{moment}+00:00")


def _servers(now: datetime) -> Iterator[Metric]:
    read: Rows = [
        {**row}
        for row in Server.objects.order_by("pk").values(
            "model__model_id", "node", "replica", "state", "wanted", "ready_at", "launched_at",
            "restarts", "memory_mib", "peak_mib", "unreachable_since",
        )
    ]  # fmt: skip
    rows = [((row["model__model_id"], row["node"], str(row["replica"])), row) for row in read]
    yield gauge(
        "magi_server_state",
        "1 for the state that a server is in, 0 for the others.",
        (*OF_SERVER, "state"),
        (
            ((*labels, state.value), float(row["state"] == state.value))
            for labels, row in rows
            for state in ServerState
        ),
    )
    yield gauge(
        "magi_server_wanted",
        "Whether a server is wanted running.",
        OF_SERVER,
        ((labels, float(row["wanted"] == Wanted.RUNNING)) for labels, row in rows),
    )
    yield gauge(
        "magi_server_unreachable",
        "Whether the node of a server is silent, so that its state is of before.",
        OF_SERVER,
        ((labels, float(row["unreachable_since"] is not None)) for labels, row in rows),
    )
    yield gauge(
        "magi_server_ready_seconds",
        "For how long a server has been ready; 0 where it is not.",
        OF_SERVER,
        ((labels, _ready_s(row, now)) for labels, row in rows),
    )
    yield gauge(
        "magi_server_load_seconds",
        "That the last load of a server took.",
        OF_SERVER,
        ((labels, _load_s(row)) for labels, row in rows),
    )
    yield counter(
        "magi_server_restarts",
        "Restarts of a server that nobody asked for.",
        OF_SERVER,
        ((labels, row["restarts"]) for labels, row in rows),
    )
    for column, name, text in (
        ("memory_mib", "estimated", "That was counted for a server at its launch."),
        ("peak_mib", "peak", "The most that a server has been seen to take."),
    ):
        yield gauge(
            f"magi_server_memory_{name}_bytes",
            text,
            OF_SERVER,
            ((labels, _bytes(row[column])) for labels, row in rows),
        )


def _ready_s(row: Mapping[str, Any], now: datetime) -> float:
    if row["state"] != ServerState.READY or row["ready_at"] is None:
        return 0.0
    return float(max((now - row["ready_at"]).total_seconds(), 0.0))


def _load_s(row: Mapping[str, Any]) -> float | None:
    launched_at, ready_at = row["launched_at"], row["ready_at"]
    if launched_at is None or ready_at is None or ready_at < launched_at:
        return None
    return float((ready_at - launched_at).total_seconds())


def _bytes(mib: int | None) -> float | None:
    return None if mib is None else float(mib) * MIB


def _models() -> Iterator[Metric]:
    figures = DiscoveredModel.objects.aggregate(
        registered=Count("pk"),
        missing=Count("pk", filter=Q(is_missing=True)),
        broken=Count("pk", filter=~Q(problem="")),
    )
    figures["enabled"] = ProfileMember.objects.filter(profile__is_active=True).count()
    yield gauge(
        "magi_models",
        "Models that are registered; of those, without their files, broken, or enabled.",
        ("is",),
        (((name,), count) for name, count in figures.items()),
    )


def _scans() -> Iterator[Metric]:
    last = (
        Scan.objects.exclude(state=ScanState.RUNNING)
        .order_by()
        .values("node")
        .annotate(last=Max("pk"))
        .values("last")
    )
    rows = list(
        Scan.objects.filter(pk__in=last)
        .order_by("node")
        .values("node", "state", "started_at", "seconds", "files_seen", *_RESULTS)
    )
    yield gauge(
        "magi_scan_timestamp_seconds",
        "When the last scan of a node that is over began.",
        ("node",),
        (((row["node"],), row["started_at"].timestamp()) for row in rows),
    )
    yield gauge(
        "magi_scan_success",
        "Whether it came to its end.",
        ("node",),
        (((row["node"],), float(row["state"] == ScanState.FINISHED)) for row in rows),
    )
    yield gauge(
        "magi_scan_duration_seconds",
        "That it took.",
        ("node",),
        (((row["node"],), row["seconds"]) for row in rows),
    )
    yield gauge(
        "magi_scan_files",
        "That it saw.",
        ("node",),
        (((row["node"],), row["files_seen"]) for row in rows),
    )
    yield gauge(
        "magi_scan_results",
        "What became of them.",
        ("node", "result"),
        (((row["node"], name), row[name]) for row in rows for name in _RESULTS),
    )


_RESULTS: Final = ("added", "updated", "unchanged", "missing", "skipped")


def _downloads() -> Iterator[Metric]:
    rows: Rows = [
        {**row}
        for row in Download.objects.filter(
            Q(state__in=UNDER_WAY) | Q(state=DownloadState.FAILED)
        )
        .order_by()
        .values("node", "state")
        .annotate(
            count=Count("pk"),
            done=Sum("done_bytes"),
            total=Sum("total_bytes"),
            rate=Sum("bytes_per_s", filter=Q(state=DownloadState.RUNNING)),
        )
    ]
    yield gauge(
        "magi_downloads",
        "Downloads that are under way, and those that failed.",
        ("node", "state"),
        (((row["node"], row["state"]), row["count"]) for row in rows),
    )
    for column, name, text in (
        ("done", "magi_download_done_bytes", "That those have fetched."),
        (
            "total",
            "magi_download_size_bytes",
            "That those are to fetch, as far as it is known.",
        ),
        ("rate", "magi_download_bytes_per_second", "That come of late."),
    ):
        yield gauge(
            name,
            text,
            ("node", "state"),
            (((row["node"], row["state"]), row[column]) for row in rows),
        )


def _nodes(nodes: Rows, now: datetime) -> Iterator[Metric]:
    ages = {
        node["name"]: (now - node["heartbeat_at"]).total_seconds()
        for node in nodes
        if node["heartbeat_at"] is not None
    }
    silence_s = SILENCE.total_seconds()
    yield gauge(
        "magi_node_up",
        "Whether the worker of a node says that it is there.",
        ("node",),
        (
            ((node["name"],), float(abs(ages.get(node["name"], silence_s)) < silence_s))
            for node in nodes
        ),
    )
    yield gauge(
        "magi_node_heartbeat_age_seconds",
        "Since it last said so.",
        ("node",),
        (((name,), max(age, 0.0)) for name, age in ages.items()),
    )
    yield gauge(
        "magi_node_cordoned",
        "Whether no server is placed on a node.",
        ("node",),
        (((node["name"],), float(node["is_cordoned"])) for node in nodes),
    )
    yield gauge(
        "magi_node_info",
        "The version of MAGI that the worker of a node is.",
        ("node", "version"),
        (((node["name"], _text(node["facts"].get("version"))), 1.0) for node in nodes),
    )
    for key, name, text in (
        ("total_bytes", "magi_node_memory_total_bytes", "RAM that a node has."),
        ("available_bytes", "magi_node_memory_available_bytes", "RAM that is left of it."),
    ):
        yield gauge(
            name,
            text,
            ("node",),
            (((node["name"],), _number(node["hardware"], key)) for node in nodes),
        )
    yield from _parts(nodes, "gpus", "gpu", "magi_node_gpu", "Memory of a graphics card")
    yield from _parts(nodes, "disks", "mount", "magi_node_disk", "A disk with models")


def _parts(nodes: Rows, key: str, label: str, name: str, what: str) -> Iterator[Metric]:
    """Yield the bytes of the disks or the cards of all nodes: in all, and free."""
    parts = [
        (node["name"], _text(part.get("path", str(number))), part)
        for node in nodes
        for number, part in enumerate(list(node["hardware"].get(key, ()))[:MAX_DISKS])
        if isinstance(part, Mapping)
    ]
    for column, text in (("total_bytes", "all of it"), ("free_bytes", "what is free")):
        yield gauge(
            f"{name}_{column}",
            f"{what}: {text}.",
            ("node", label),
            (((node, which), _number(part, column)) for node, which, part in parts),
        )


def _tasks(nodes: Rows) -> Iterator[Metric]:
    """Yield what the workers have written down with their heartbeats."""
    counts = [
        ((node["name"], _text(task)), count)
        for node in nodes
        for task, count in _mapping(node["facts"].get("tasks")).items()
        if isinstance(count, Mapping)
    ]
    for key, name, text in (
        ("done", "magi_tasks", "Tasks that a worker has ended."),
        ("failed", "magi_tasks_failed", "Tasks of those that failed."),
        ("seconds", "magi_task_seconds", "That they took together."),
    ):
        yield counter(
            name, text, ("node", "task"), ((at, _number(one, key)) for at, one in counts)
        )
    yield gauge(
        "magi_tasks_running",
        "Tasks that a worker is at.",
        ("node", "task"),
        ((at, _number(one, "running")) for at, one in counts),
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(values: Mapping[str, Any], key: str) -> float | None:
    value = values.get(key)
    return float(value) if isinstance(value, int | float) else None


def _text(value: object) -> str:
    return str(value)[:200] if value is not None else ""
