"""Celery entry points: each names what does the work, and calls it."""

from typing import Any

from celery import shared_task

from models_app import registry


@shared_task
def rescan(node: str) -> dict[str, Any]:
    return registry.rescan(node).as_json()
