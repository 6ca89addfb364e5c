"""Room in memory for a launch: counted before it, made by eviction, measured after it."""

import time
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from models_app.locks import node_lock
from profiles_app.models import Profile
from profiles_app.runsettings import Setting
from servers_app import memory, probe
from servers_app.admission import Evict, Fits, Need, Refused
from servers_app.keys import server_key
from servers_app.models import RUNNING, Server, ServerEvent, ServerState, Wanted
from servers_app.supervisor import ending, row, stopping

POLL_S = 0.25
EVICTION = "memory"  # who has evicted
# After a stop its memory comes back within this, and is somebody else's for so long.
COMES_BACK = timedelta(seconds=5)


def make_room(
    server: Server, run_settings: dict[str, Setting], profile: Profile, build: str
) -> bool:
    """Move a server to STARTING with its memory counted; False if that is not to be.

    Counting and moving are one step on this node, so that of two launches at once the
    second one counts the first.
    """
    need = memory.need_of(server.model, run_settings, build, server.node)
    patience = time.monotonic() + profile.queue_wait_seconds
    while row.is_wanted(server):
        with node_lock("memory", wait=lambda: True):
            decision = memory.admit(
                need,
                node=server.node,
                budget_mib=profile.memory_budget_mib,
                eviction=profile.eviction,
                busy=is_busy,
                server_id=server.pk,
            )
            if isinstance(decision, Fits):
                _count(server, need)
                return True
        if isinstance(decision, Evict):
            _evict(decision.server_ids, to_make_room_for=server, profile=profile)
            continue
        is_final = isinstance(decision, Refused) and not _is_one_stopping(server.node)
        if is_final or time.monotonic() > patience:
            ending.refuse(server, decision.sentence)
            return False
        row.note(server, decision.sentence)
        time.sleep(POLL_S)
    return False


def measure(server: Server) -> None:
    """Keep the most that a server was seen to take, for its next launch."""
    if server.pid is None or not row.is_alive(server):
        return
    memory.record(server, memory.measure(server.pid, server.keeper_pid))


def is_busy(server_id: int) -> bool:
    server = row.load(server_id)
    if server is None or server.port is None:
        return False
    work = probe.activity(server.port, server_key(server.pk), host=row.host())
    return work is None or work.requests > 0


def _count(server: Server, need: Need) -> None:
    row.move(
        server,
        ServerState.STARTING,
        who=server.asked_by,
        why=server.asked_why,
        memory_mib=need.total_mib,
        note="",
    )


def _evict(server_ids: tuple[int, ...], *, to_make_room_for: Server, profile: Profile) -> None:
    """Stop servers that are idle; the next request starts them again."""
    why = f"to make room for {to_make_room_for.model.model_id}"
    now = timezone.now()
    for server_id in server_ids:
        idle = Server.objects.filter(
            pk=server_id, wanted=Wanted.RUNNING, state=ServerState.READY
        )
        if idle.update(
            wanted=Wanted.STOPPED,
            on_request=True,
            requested_at=now,
            asked_by=EVICTION,
            asked_why=why,
            drain_until=now + timedelta(seconds=profile.drain_seconds),
        ):
            ServerEvent.objects.create(
                server_id=server_id,
                kind=ServerEvent.Kind.WANTED,
                who=EVICTION,
                why=why,
                from_state=Wanted.RUNNING,
                to_state=Wanted.STOPPED,
            )
    row.note(to_make_room_for, "waits for memory: stops what has been idle longest")
    before = memory.machine()
    leaving = [
        running
        for running in memory.running_on(to_make_room_for.node)
        if running.server_id in server_ids
    ]
    for server_id in server_ids:
        with node_lock(f"server-{server_id}") as held:
            server = row.load(server_id) if held else None
            if server is not None and server.wanted == Wanted.STOPPED:
                stopping.stop(server)
    while Server.objects.filter(pk__in=server_ids, state__in=RUNNING, wanted=Wanted.STOPPED):
        time.sleep(POLL_S)  # another call is at it
    memory.wait_until_back(
        before.available_mib,
        sum(running.anonymous_mib for running in leaving),
        before_vram_mib=sum(gpu.free_mib for gpu in before.gpus),
        freed_vram_mib=sum(running.vram_mib for running in leaving),
    )


def _is_one_stopping(node: str) -> bool:
    """Whether memory is about to come back: a server stops, or has just stopped."""
    lately = timezone.now() - COMES_BACK
    stopping = Q(state=ServerState.STOPPING) | Q(
        state=ServerState.STOPPED, stopped_at__gt=lately
    )
    return Server.objects.filter(node=node).filter(stopping).exists()
