"""Celery entry points: each names what does the work, and calls it."""

from typing import Any

from celery import shared_task
from django.conf import settings

from models_app import file_checks, registry
from models_app.acting import WORKER, acting
from models_app.audit_models import Via
from models_app.downloads import offering, recovery, worker
from models_app.progress import task_progress
from models_app.queue import queue_of
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


@shared_task(base=FollowedTask, bind=True)
def verify_model(self: FollowedTask, model_pk: int, who: str = "") -> dict[str, Any]:
    with acting(who or WORKER, Via.SYSTEM):
        return file_checks.verify(model_pk, task_id=self.followed_id)


@shared_task(base=FollowedTask, bind=True)
def check_model(self: FollowedTask, model_pk: int, who: str = "") -> dict[str, Any]:
    with acting(who or WORKER, Via.SYSTEM):
        return file_checks.check(model_pk)


@shared_task(ignore_result=True)
def download(download_id: int) -> None:
    """Fetch a model if there is a place for it, and then have the next one fetched."""
    if worker.run_in_turn(download_id):
        resume_downloads(settings.MAGI_NODE)


@shared_task(ignore_result=True)
def resume_downloads(node: str) -> None:
    """Have those downloads of `node` fetched that nobody is at."""
    for download_id in recovery.waiting(node):
        download.apply_async((download_id,), queue=queue_of(node))


@shared_task(ignore_result=True)
def offer_files(download_id: int) -> None:
    """Give the files of a model to the node that copies it, for as long as it does."""
    offering.start(download_id, settings.MAGI_NODE)
