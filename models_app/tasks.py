"""Celery entry points: each names what does the work, and calls it."""

from typing import Any

from celery import shared_task

from models_app import audit, registry
from models_app.acting import WORKER, acting
from models_app.audit_models import Via
from models_app.progress import task_progress
from models_app.taskstates import FollowedTask


@shared_task(base=FollowedTask, bind=True)
def rescan(
    self: FollowedTask,
    node: str,
    prune: bool = False,  # noqa: FBT001, FBT002 - JSON
    who: str = "",
) -> dict[str, Any]:
    on_file = task_progress(self.followed_id) if self.followed_id else None
    with acting(who or WORKER, Via.SYSTEM):
        return registry.rescan(node, on_file=on_file, prune=prune).as_json()


@shared_task(ignore_result=True)
def prune_audit() -> None:
    audit.prune()
