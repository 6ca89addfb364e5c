"""Find llama-servers of ours that no row accounts for, and end them.

Nobody who looks at the database would know that they run; nobody has enabled them. They
come of a database that was restored or reset, or of rows that were deleted.
"""

import logging
from pathlib import Path

from django.conf import settings

from models_app.locks import node_lock
from servers_app import launcher, processes
from servers_app.errors import LaunchError
from servers_app.models import RUNNING, Server, ServerState, Wanted
from servers_app.processes import ProcessIdentity
from servers_app.supervisor import stopping

log = logging.getLogger("servers_app.supervisor")


def sweep(node: str) -> list[int]:
    """End what runs unaccounted for in the data folder of this node; return the ids.

    Only what holds the lock of its folder is believed to be ours: what a pid of a file
    belongs to by now is not touched.
    """
    ended = []
    for server_id in _kept():
        with node_lock(f"server-{server_id}") as held:
            if held and launcher.is_kept(server_id) and not _is_accounted_for(server_id, node):
                _end(server_id, "no row knows it")
                ended.append(server_id)
    return ended


def end_all() -> None:
    """End every llama-server of this data folder without asking the database, which is away.

    Its keeper writes down how each ended, and whoever has the database next reads that.
    """
    for server_id in _kept():
        _end(server_id, "the database cannot be asked")


def _kept() -> list[int]:
    folder = Path(settings.MAGI_DATA_DIR) / "servers"
    if not folder.is_dir():
        return []
    names = [entry.name for entry in folder.iterdir() if entry.name.isdecimal()]
    return [int(name) for name in names if launcher.is_kept(int(name))]


def _is_accounted_for(server_id: int, node: str) -> bool:
    """Whether a row has it, or will meet it: a start finds the keeper, and adopts it."""
    server = Server.objects.filter(pk=server_id, node=node).first()
    if server is None:
        return False
    if server.state == ServerState.FAILED and server.next_start_at is None:
        return server.wanted == Wanted.RUNNING and server.is_asked_again
    has_process = server.state in RUNNING and server.pid is not None
    return server.wanted == Wanted.RUNNING or has_process


def _end(server_id: int, why: str) -> None:
    try:
        kept = launcher.read_kept(server_id)
    except LaunchError:
        return  # it is being launched, or ends
    log.warning("llama-server %s runs, and %s: it is stopped", kept.pid, why)
    boot = processes.boot_id()
    keeper, server = kept.keeper_started_at, kept.started_at
    if server is not None:
        process = ProcessIdentity(kept.pid, server, boot)
        processes.terminate(process)
        if not stopping.is_gone(process, within=stopping.STOP_GRACE_S):
            processes.kill(process)
    if keeper is not None:
        identity = ProcessIdentity(kept.keeper_pid, keeper, boot)
        if not stopping.is_gone(identity, within=stopping.KEEPER_GRACE_S):
            processes.kill_group(identity)
