"""Celery entry points of what nodes do for each other: each names what does the work."""

from celery import shared_task

from servers_app.cluster import failover, lost_nodes
from servers_app.tasks import heartbeat


@shared_task(ignore_result=True)
def watch_nodes(_node: str = "") -> None:
    """Note which nodes are lost or back, and have servers taken over."""
    lost_nodes.mark_back()
    if heartbeat.is_steady:
        lost_nodes.mark_lost()
        failover.fail_over()


heartbeat.also_look_after(watch_nodes)
