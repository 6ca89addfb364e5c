"""Celery entry points: each names what does the work, and calls it."""

from concurrent.futures import ThreadPoolExecutor

from celery import shared_task
from django.conf import settings
from django.db import connections

from models_app.queue import queue_of
from servers_app import requests, supervisor
from servers_app.heartbeat import beat_in_workers

AT_ONCE = 8


@shared_task(ignore_result=True)
def settle(server_id: int) -> None:
    again_in = supervisor.settle(server_id)
    if again_in is not None:
        queue = queue_of(settings.MAGI_NODE)
        settle.apply_async((server_id,), queue=queue, countdown=again_in)


@shared_task(ignore_result=True)
def reconcile(node: str) -> None:
    """Settle every server of `node` for which there is something to do, each in a task."""
    heartbeat.reconciled()
    for server_id in supervisor.reconcile(node):
        settle.apply_async((server_id,), queue=queue_of(node))


@shared_task(ignore_result=True)
def prune_requests() -> None:
    requests.prune()


def look_after() -> None:
    """Reconcile within this process: the broker or beat is away."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="look-after") as pool:
        list(pool.map(_settle_here, supervisor.reconcile(settings.MAGI_NODE)))


def _settle_here(server_id: int) -> None:
    try:
        supervisor.settle(server_id)
    finally:
        connections.close_all()


heartbeat = beat_in_workers(look_after)
