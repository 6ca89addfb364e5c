"""Celery entry points: each names what does the work, and calls it."""

from typing import Any

from celery import shared_task

from models_app import registry


@shared_task
def rescan(node: str, prune: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - JSON
    return registry.rescan(node, prune=prune).as_json()
