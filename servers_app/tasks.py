"""Celery entry points: each names what does the work, and calls it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery import shared_task
from django.conf import settings
from django.db import connections

from models_app.queue import queue_of
from servers_app import hardware_look, supervisor
from servers_app.bench import worker as bench
from servers_app.comparing import worker as comparing
from servers_app.heartbeat import beat_in_workers
from servers_app.joining import FirstScan, check_in_workers
from servers_app.node_clock import NodeClock
from servers_app.node_facts import FactsWriter
from servers_app.tuning import worker as tuning

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
def compare(comparison_id: int) -> None:
    comparing.run(comparison_id)


@shared_task(ignore_result=True)
def measure(node: str) -> None:
    """Measure what is queued for `node`, unless another process of it is at that."""
    bench.work_off(node)


@shared_task(ignore_result=True)
def tune(benchmark_id: int) -> None:
    tuning.run(benchmark_id)


@shared_task(ignore_result=True)
def take_up(node: str) -> None:
    """Go on with what a worker left when it died, or a queue that was away never told."""
    for task, left in ((compare, comparing.left_behind()), (tune, tuning.left_behind())):
        for number in left:
            task.apply_async((number,), queue=queue_of(node))


@shared_task
def look_at_hardware() -> dict[str, Any]:
    return hardware_look.look_again().as_json()


def look_after() -> None:
    """Reconcile within this process: the broker or beat is away."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="look-after") as pool:
        list(pool.map(_settle_here, supervisor.reconcile(settings.MAGI_NODE)))


def _settle_here(server_id: int) -> None:
    try:
        supervisor.settle(server_id)
    finally:
        connections.close_all()


check_in_workers()
heartbeat = beat_in_workers(
    look_after,
    {
        "Writing the facts of this node": FactsWriter().write,
        "The clock of this node": NodeClock(settings.NODE_SCHEDULE).tick,
        "The look for a first scan": FirstScan().look,
    },
)
