"""The rescans that a person has asked for, as the pages of the admin tell of them."""

import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings

from models_app.errors import ModelsError, QueueUnavailableError, UnknownTaskError
from models_app.models import Scan, ScanRoot, ScanState
from models_app.queue import without_worker
from models_app.rescans import request_rescan
from models_app.taskstates import TaskState, follow

TOLD_S: Final = 600  # how long a page tells how a rescan ended
_KEY: Final = "rescans"  # in a session: node, task and time of each

Session = MutableMapping[str, Any]


@dataclass(frozen=True, slots=True)
class AskedRescan:
    """How a rescan is that somebody asked for."""

    node: str
    state: TaskState
    files_seen: int | None = None
    expected: int = 0  # as many files as the last scan saw; 0: nobody knows
    folder: str = ""
    report: dict[str, Any] | None = None  # of one that has ended

    @property
    def is_going_on(self) -> bool:
        return self.state in (TaskState.PENDING, TaskState.RUNNING)

    @property
    def has_failed(self) -> bool:
        return self.state == TaskState.FAILURE

    @property
    def words(self) -> str:
        if self.state == TaskState.PENDING:
            return f"Rescan of {self.node}: it waits for the worker of that node."
        if self.state == TaskState.RUNNING:
            seen = "" if self.files_seen is None else f", {self.files_seen:,} files so far"
            return f"Rescan of {self.node}: it looks for models{seen}."
        if self.report is None:
            return f"Rescan of {self.node}: it failed. The worker's log says why."
        counts = ", ".join(
            f"{len(self.report[name]):,} {name}"
            for name in ("added", "updated", "unchanged", "missing", "skipped")
        )
        seen, seconds = self.report["files_seen"], self.report["seconds"]
        files = "1 file" if seen == 1 else f"{seen:,} files"
        return f"Rescan of {self.node}: finished after {seconds:.1f} s and {files}: {counts}."

    @property
    def scan_id(self) -> int | None:
        return self.report["scan_id"] if self.report else None


def nodes_to_scan() -> list[str]:
    """Return this node, and all others that have scan roots."""
    nodes = ScanRoot.objects.filter(is_enabled=True).values_list("node", flat=True)
    return sorted({settings.MAGI_NODE, *nodes.order_by().distinct()})


def ask_for_rescans(session: Session, nodes: list[str]) -> tuple[list[str], list[str]]:
    """Ask for a rescan of each node that has a worker, and remember it in a session.

    Returns:
        the nodes that are scanned, and sentences on those that are not.
    """
    try:
        away = without_worker(nodes)
    except QueueUnavailableError as error:
        return [], [str(error)]
    asked: list[str] = []
    troubles = [str(error) for error in away.values()]
    kept = session.get(_KEY, [])
    for node in nodes:
        if node in away:
            continue
        try:
            task = request_rescan(node)
        except ModelsError as error:
            troubles.append(str(error))
        else:
            kept = [each for each in kept if each[0] != node]
            kept.append([node, task.id, time.time()])
            asked.append(node)
    session[_KEY] = kept
    return asked, troubles


def asked_rescans(session: Session) -> list[AskedRescan]:
    """Return how the rescans are that were asked for in a session; old ones are forgotten."""
    kept = session.get(_KEY, [])
    young, rescans = [], []
    for each in kept:
        node, task_id, asked_at = each
        try:
            rescan = _followed(node, task_id)
        except QueueUnavailableError:
            young.append(each)
            continue
        except UnknownTaskError:
            continue
        if rescan.is_going_on or time.time() - asked_at < TOLD_S:
            young.append(each)
            rescans.append(rescan)
    if young != kept:
        session[_KEY] = young
    return rescans


def _followed(node: str, task_id: str) -> AskedRescan:
    task = follow(task_id)
    progress = task.progress or {}
    seen = progress.get("files_seen")
    last = None
    if seen is not None:
        finished = Scan.objects.filter(node=node, state=ScanState.FINISHED)
        last = finished.values_list("files_seen", flat=True).first()
    return AskedRescan(
        node,
        task.state,
        files_seen=seen,
        expected=max(last, seen) if last and seen is not None else 0,
        folder=progress.get("folder", ""),
        report=task.result,
    )
