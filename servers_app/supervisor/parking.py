"""End the servers of a node that is shut down; what is wanted of them stays wanted.

The next worker of the node starts them again. No worker may be at work meanwhile: it would
do so at once.
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from django.db import connection
from django.utils import timezone

from models_app.locks import node_lock
from servers_app.bench import private
from servers_app.models import RUNNING, Server
from servers_app.supervisor import row, stopping

WHO = "park"
WHY = "the node was shut down"


def park(node: str, *, drain_s: float) -> list[str]:
    """Drain and end every llama-server of this node; return those that run still.

    Must be called on that machine. It ends private servers of measurements as well.

    Args:
        drain_s: seconds that requests in flight may take; one SIGTERM comes then, and
            SIGKILL ten seconds later.
    """
    private.end_left()
    running = Server.objects.filter(node=node, state__in=RUNNING)
    if server_ids := list(running.values_list("pk", flat=True)):
        with ThreadPoolExecutor(len(server_ids)) as pool:
            list(pool.map(lambda server_id: _park(server_id, drain_s), server_ids))
    return [str(server) for server in running.select_related("model")]


def _park(server_id: int, drain_s: float) -> None:
    try:
        with node_lock(f"server-{server_id}") as held:
            if not held:
                return  # a worker is at it after all
            now = timezone.now()
            # As a restart, of which the second half is left to the next worker.
            Server.objects.filter(pk=server_id).update(
                restart_requested_at=now,
                requested_at=now,
                drain_until=now + timedelta(seconds=drain_s),
                asked_by=WHO,
                asked_why=WHY,
            )
            server = row.load(server_id)
            if server is not None and server.state in RUNNING:
                stopping.stop(server)
    finally:
        connection.close()
