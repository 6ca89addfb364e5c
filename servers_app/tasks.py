"""Celery entry points: each names what does the work, and calls it."""

from celery import shared_task

from servers_app import supervisor


@shared_task(ignore_result=True)
def settle(server_id: int) -> None:
    supervisor.settle(server_id)


@shared_task(ignore_result=True)
def reconcile(node: str) -> None:
    """Look at every server of `node` that is not at rest, each in a task of its own."""
    for server_id in supervisor.unsettled(node):
        settle.apply_async((server_id,), queue=f"node.{node}")
