"""Celery entry points of the site: each names what does the work, and calls it."""

from celery import shared_task

from magi_site.retention import bounds_of_database, bounds_of_node
from models_app.clock import believed_now
from models_app.retention import apply


@shared_task(ignore_result=True)
def prune() -> None:
    apply(bounds_of_database(), believed_now())


@shared_task(ignore_result=True)
def prune_node(node: str) -> None:
    apply(bounds_of_node(node), believed_now())
