"""What a worker does for a server: bring what is to what is wanted.

The one module that writes `Server.state`. `settle` may be called at any time, any
number of times, in any process of the node: one call at a time works on a server
(a lock that the kernel drops with its holder), the others leave at once, and a
call that dies is carried on by the next one, from what the database and the
keeper's files say.
"""

import logging
import time
from collections.abc import Callable

from django.conf import settings
from django.db import models
from django.utils import timezone

from models_app.locks import node_lock
from profiles_app.models import Profile
from profiles_app.resolution import settings_of
from servers_app import launcher, probe, processes
from servers_app.engine.argv import server_argv
from servers_app.engine.binary import Engine, find_engine
from servers_app.errors import EngineError, LaunchError, NoFreePortError
from servers_app.keys import server_key
from servers_app.models import RUNNING, Server, ServerState, Wanted
from servers_app.ports import claim_port
from servers_app.processes import ProcessIdentity

log = logging.getLogger(__name__)

READINESS_POLL_S = 0.03
WANTED_POLL_S = 0.25  # how soon a stop is seen while a model loads
STOP_GRACE_S = 10.0  # llama-server ends in 0.1 s when idle, in minutes inside a long prompt
KEEPER_GRACE_S = 2.0
TAIL_LINES = 12


def unsettled(node: str) -> list[int]:
    """Return the servers of `node` that are not at rest, or whose rest must be watched."""
    at_rest = models.Q(state=ServerState.STOPPED, wanted=Wanted.STOPPED) | models.Q(
        state=ServerState.FAILED
    )
    asked_again = models.Q(wanted=Wanted.RUNNING, requested_at__gt=models.F("stopped_at"))
    wanted_gone = models.Q(state=ServerState.FAILED, wanted=Wanted.STOPPED)
    return list(
        Server.objects.filter(node=node)
        .filter(~at_rest | asked_again | wanted_gone)
        .values_list("pk", flat=True)
    )


def settle(server_id: int) -> None:
    """Bring one server to what is wanted of it, and return when it is there.

    Returns at once when another call is at it. That one looks again before it
    leaves, so what is wanted now is not missed.
    """
    while True:
        with node_lock(f"server-{server_id}") as held:
            if not held:
                return
            server = _load(server_id)
            if server is None:
                return
            _step(server)
        server = _load(server_id)
        if server is None or _is_settled(server):
            return


def _is_settled(server: Server) -> bool:
    if server.wanted == Wanted.STOPPED:
        return server.state == ServerState.STOPPED
    if server.state == ServerState.FAILED:
        return not server.is_asked_again
    if server.is_restart_due:
        return False
    return server.state in {ServerState.READY, ServerState.UNHEALTHY}


def _step(server: Server) -> None:
    if server.wanted == Wanted.STOPPED:
        _stop(server)
        return
    if server.state == ServerState.STARTING and server.pid is None:
        _start(server)  # whoever launched it died before it could say so
        return
    if server.state in RUNNING and not _is_alive(server):
        _mark_gone(server)
        return
    if server.state in RUNNING and server.is_restart_due:
        _stop(server)  # what is wanted has not changed: the next step starts it
        return
    match server.state:
        case ServerState.STOPPED:
            _start(server)
        case ServerState.FAILED:
            if server.is_asked_again:
                _start(server)
        case ServerState.STARTING:
            _wait_until_ready(server)
        case ServerState.STOPPING:  # wanted again before it was gone
            _stop(server)
        case _:
            _check_health(server)


# -- starting


def _start(server: Server) -> None:
    if settings.MODEL_CONCURRENT_STARTS:
        _launch(server)
        return
    with node_lock("launch", wait=lambda: _still_wanted(server)) as held:
        if held:
            _launch(server)


def _launch(server: Server) -> None:
    """Start the process and wait until it is ready, has failed, or is not wanted."""
    try:
        engine = find_engine()
        port = claim_port(server)
    except (EngineError, NoFreePortError) as error:
        _mark_failed(server, str(error))
        return
    profile = Profile.objects.filter(is_active=True).first()
    argv = server_argv(engine, server.model, port, settings_of(server.model, profile))
    # In the database before it is done: if this process dies between the two, the
    # next one finds STARTING without a pid, launches, and meets the keeper's lock.
    _write(
        server,
        state=ServerState.STARTING,
        argv=argv,
        launched_at=timezone.now(),
        ready_at=None,
        exit_code=None,
        last_error="",
        **_no_process(),
    )
    try:
        started, kept = _start_or_find(server, engine, argv)
    except LaunchError as error:
        _mark_failed(server, str(error))
        return
    _write(
        server,
        pid=kept.pid,
        pid_started_at=kept.started_at,
        keeper_pid=kept.keeper_pid,
        keeper_started_at=kept.keeper_started_at,
        boot_id=processes.boot_id(),
    )
    if not started and _runs_something_else(server, argv):
        log.warning("%s: stopping the process of an earlier launch", server)
        _end_process(server)
        _write(server, state=ServerState.STOPPED, **_no_process())
        return
    _wait_until_ready(server)


def _start_or_find(
    server: Server, engine: Engine, argv: list[str]
) -> tuple[bool, launcher.Kept]:
    """Start the process, or find the one that this server's keeper has already.

    A keeper that has just written down an exit may still hold its lock for a moment,
    and a server whose keeper was killed until it is dead itself: then try again.
    """
    deadline = time.monotonic() + KEEPER_GRACE_S
    while True:
        started = launcher.launch(server.pk, engine, argv)
        kept = launcher.read_kept(server.pk)
        if started or kept.is_running or time.monotonic() > deadline:
            return started, kept
        time.sleep(READINESS_POLL_S)


def _wait_until_ready(server: Server) -> None:
    launched_at = server.launched_at or timezone.now()
    wanted = _every(WANTED_POLL_S, lambda: _still_wanted(server))
    while wanted():
        # In this order: one that dies after the look at its health is seen next time.
        is_ready = probe.health(_port(server)) == probe.Health.READY
        if not _is_alive(server):
            _mark_gone(server)
            return
        if is_ready:
            _accept(server)
            return
        waited = (timezone.now() - launched_at).total_seconds()
        if waited > settings.MODEL_MAX_STARTUP_TIME:
            _end_process(server)
            _mark_failed(
                server,
                f"Not ready within {settings.MODEL_MAX_STARTUP_TIME} s. If the model is large, "
                "raise MODEL_MAX_STARTUP_TIME.",
            )
            return
        time.sleep(READINESS_POLL_S)


def _accept(server: Server) -> None:
    """Take a server that answers for ours, if it names our model."""
    served = probe.model_path(_port(server), server_key(server.pk))
    if served == server.model.file_path:
        _write(server, state=ServerState.READY, ready_at=timezone.now(), last_error="")
        log.info("%s is ready at port %s", server, server.port)
        return
    _end_process(server)
    who = f"a server of {served}" if served else "another program"
    _mark_failed(server, f"Port {server.port} is answered by {who}. Start it again.")


def _check_health(server: Server) -> None:
    answer = probe.health(_port(server))
    if answer == probe.Health.READY and probe.refuses_key(_port(server), server_key(server.pk)):
        log.warning("%s has the key of another SECRET_KEY; starting it again", server)
        _end_process(server)
        _write(server, state=ServerState.STOPPED, stopped_at=timezone.now(), **_no_process())
        return
    state = ServerState.READY if answer == probe.Health.READY else ServerState.UNHEALTHY
    if state != server.state:
        log.warning("%s is %s (%s)", server, state, answer)
        _write(server, state=state)


# -- stopping


def _stop(server: Server) -> None:
    if server.state in RUNNING:
        _write(server, state=ServerState.STOPPING)
        _end_process(server)
        ended = launcher.read_exit(server.pk, server.pid)
        _write(server, exit_code=ended.returncode if ended else None)
    _write(
        server,
        state=ServerState.STOPPED,
        stopped_at=timezone.now(),
        last_error="",
        **_no_process(),
    )
    # Only if it is still unwanted: somebody who asked meanwhile counts on the port.
    Server.objects.filter(pk=server.pk, wanted=Wanted.STOPPED).update(port=None)


def _end_process(server: Server) -> None:
    """One SIGTERM, then SIGKILL; return when neither server nor keeper is left."""
    process, keeper = _identity(server), _keeper_identity(server)
    if process is not None:
        processes.terminate(process)
        if not _gone(process, within=STOP_GRACE_S):
            processes.kill(process)
            _gone(process, within=KEEPER_GRACE_S)
    if keeper is not None and not _gone(keeper, within=KEEPER_GRACE_S):
        processes.kill_group(keeper)
        _gone(keeper, within=KEEPER_GRACE_S)


def _gone(identity: ProcessIdentity, *, within: float) -> bool:
    deadline = time.monotonic() + within
    while processes.find(identity) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(READINESS_POLL_S)
    return True


# -- what is


def _is_alive(server: Server) -> bool:
    identity = _identity(server)
    return identity is not None and processes.find(identity) is not None


def _mark_gone(server: Server) -> None:
    """Write down a process that has ended by itself.

    Its keeper wrote how: that is a failure, which waits until somebody asks again.
    Nobody wrote how a server ended that was ready, or that ran before the machine
    was booted: it went down with its machine or container, and since it is still
    wanted the next step starts it anew.
    """
    ended = _await_exit(server)
    if ended is not None:
        _write(server, exit_code=ended.returncode)
        code = ended.returncode
        how = f"signal {-code}" if code < 0 else f"code {code}"
        tail = launcher.log_tail(server.pk, lines=TAIL_LINES)
        _mark_failed(server, f"llama-server ended with {how}. Its last lines:\n{tail}")
    elif server.ready_at is not None or server.boot_id != processes.boot_id():
        log.warning("%s vanished without an exit status; starting it again", server)
        _write(
            server,
            state=ServerState.STOPPED,
            stopped_at=timezone.now(),
            restarts=models.F("restarts") + 1,
            **_no_process(),
        )
    else:
        _mark_failed(server, "It vanished while it loaded, and its keeper with it.")


def _await_exit(server: Server) -> launcher.Exit | None:
    """Return how it ended; its keeper may still be writing that down."""
    keeper = _keeper_identity(server)
    if keeper is not None:
        _gone(keeper, within=KEEPER_GRACE_S)
    return launcher.read_exit(server.pk, server.pid)


def _mark_failed(server: Server, reason: str) -> None:
    log.error("%s failed: %s", server, reason)
    _write(
        server,
        state=ServerState.FAILED,
        stopped_at=timezone.now(),
        port=None,
        last_error=reason,
        **_no_process(),
    )


def _runs_something_else(server: Server, argv: list[str]) -> bool:
    identity = _identity(server)
    process = processes.find(identity) if identity else None
    # Its flags, not what is before them: a script is run by its interpreter.
    flags = argv[1:]
    return process is not None and process.cmdline()[-len(flags) :] != flags


def _identity(server: Server) -> ProcessIdentity | None:
    if server.pid is None or server.pid_started_at is None:
        return None
    return ProcessIdentity(server.pid, server.pid_started_at, server.boot_id)


def _keeper_identity(server: Server) -> ProcessIdentity | None:
    if server.keeper_pid is None or server.keeper_started_at is None:
        return None
    return ProcessIdentity(server.keeper_pid, server.keeper_started_at, server.boot_id)


def _no_process() -> dict[str, object]:
    return {
        "pid": None,
        "pid_started_at": None,
        "keeper_pid": None,
        "keeper_started_at": None,
        "boot_id": "",
    }


def _port(server: Server) -> int:
    if server.port is None:
        msg = f"{server} runs without a port"  # the database forbids it
        raise AssertionError(msg)
    return server.port


def _still_wanted(server: Server) -> bool:
    return Server.objects.filter(pk=server.pk, wanted=Wanted.RUNNING).exists()


def _every(seconds: float, ask: Callable[[], bool]) -> Callable[[], bool]:
    """Return `ask`, asked at most once in `seconds` and remembered in between."""
    asked_at = float("-inf")
    answer = True

    def remembered() -> bool:
        nonlocal asked_at, answer
        if time.monotonic() - asked_at >= seconds:
            asked_at, answer = time.monotonic(), ask()
        return answer

    return remembered


def _load(server_id: int) -> Server | None:
    return Server.objects.select_related("model").filter(pk=server_id).first()


def _write(server: Server, **fields: object) -> None:
    """Write the named columns and nothing else: `wanted` belongs to the askers."""
    Server.objects.filter(pk=server.pk).update(**fields)
    server.refresh_from_db(fields=[*fields, "wanted"])
