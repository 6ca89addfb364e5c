"""A scan's progress: as events, and as notes of its task; slow enough for a page to follow."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models_app.discovery import OnFile
from models_app.events import SCAN, publish
from models_app.scanned import safe_text
from models_app.taskstates import ProgressNotes

INTERVAL_S = 0.2


def scan_started(node: str) -> None:
    publish(SCAN, {"node": node, "state": "started"})


def scan_progress(
    node: str, *, also: OnFile | None = None, clock: Callable[[], float] = time.monotonic
) -> OnFile:
    """Return what a scan calls with each file: it publishes five times a second at most.

    Args:
        also: called with every file, whether it is published or not.
        clock: gives seconds.
    """

    def tell(progress: dict[str, Any]) -> None:
        publish(SCAN, {"node": node, "state": "running", **progress})

    return _now_and_then(tell, also, clock)


def task_progress(task_id: str, *, clock: Callable[[], float] = time.monotonic) -> OnFile:
    """Return what a scan calls with each file: it notes how far its task is, as often."""
    return _now_and_then(ProgressNotes(task_id).write, None, clock)


def _now_and_then(
    tell: Callable[[dict[str, Any]], None], also: OnFile | None, clock: Callable[[], float]
) -> OnFile:
    due_at = float("-inf")

    def on_file(path: Path | str, files_seen: int) -> None:
        nonlocal due_at
        now = clock()
        if now >= due_at:
            due_at = now + INTERVAL_S
            tell({"files_seen": files_seen, "folder": safe_text(Path(path).parent)})
        if also is not None:
            also(path, files_seen)

    return on_file


def scan_finished(node: str, *, files_seen: int, models_found: int, seconds: float) -> None:
    publish(
        SCAN,
        {
            "node": node,
            "state": "finished",
            "files_seen": files_seen,
            "models_found": models_found,
            "seconds": seconds,
        },
    )


def scan_failed(node: str) -> None:
    """Say that a scan ended without a report; why is in the log of who ran it."""
    publish(SCAN, {"node": node, "state": "failed"})
