"""Launch a server and wait until it is ready, has failed, or is not wanted any more."""

import time
from collections.abc import Callable

from django.conf import settings
from django.utils import timezone

from models_app.copies import as_on
from models_app.errors import NotOnNodeError
from models_app.locks import node_lock
from models_app.space import shortage
from models_app.tracing import span
from profiles_app.filepaths import why_not_launched
from profiles_app.models import Profile
from profiles_app.resolution import settings_of
from profiles_app.services import active_profile
from servers_app import launcher, memory, probe, processes
from servers_app.engine.argv import server_argv
from servers_app.engine.binary import Engine, find_engine
from servers_app.engine.builds import capabilities
from servers_app.errors import (
    EngineError,
    EngineSilentError,
    LaunchError,
    NoFreePortError,
)
from servers_app.exits import Cause, Ending
from servers_app.keys import server_key
from servers_app.models import Server, ServerState
from servers_app.ports import claim_port, is_bindable, unusable_address
from servers_app.supervisor import ending, loading, room, row, stopping

READINESS_POLL_S = 0.02
WANTED_POLL_S = 0.25  # how soon a stop is seen while a model loads
KEPT_POLL_S = 0.03
LACK_PAUSE_S = 30.0  # of room on the disk, the node's address, a port, or an engine's answer


def start(server: Server) -> None:
    """Launch `server`; models load one after the other where the settings say so."""
    if settings.MODEL_CONCURRENT_STARTS:
        _start(server)
        return

    def may_wait() -> bool:
        row.note(server, "waits for another model to load")
        return row.is_wanted(server)

    with node_lock("launch", wait=may_wait) as held:
        if held:
            _start(server)


def _start(server: Server) -> None:
    try:
        server.model = as_on(server.model, server.node)
    except NotOnNodeError as error:
        ending.refuse(server, str(error))
        return
    # One that runs already, of a launch that was not written down, is met without any.
    if not launcher.is_kept(server.pk) and (lack := shortage() or unusable_address()):
        ending.postpone(server, lack, LACK_PAUSE_S)
        return
    profile = active_profile()
    run_settings = settings_of(server.model, profile)
    if not server.model.is_launchable:
        ending.refuse(server, f"{server.model.problem or 'The file of the model is missing'}.")
        return
    values = {name: setting.value for name, setting in run_settings.items()}
    if why := why_not_launched(values):
        ending.refuse(server, why)
        return
    try:
        engine = find_engine(profile.engine if profile else "")
        build = capabilities(engine).version.text[:100]
        _settle_port(server)
        argv = server_argv(
            engine, server.model, row.port_of(server), run_settings, host=row.host()
        )
    except (EngineSilentError, NoFreePortError) as error:
        ending.postpone(server, str(error), LACK_PAUSE_S)
        return
    except EngineError as error:
        ending.refuse(server, str(error))
        return
    if room.make_room(server, run_settings, profile or Profile(), build):
        key = memory.key_of(server.model, run_settings, build, server.node)
        counted_as = {name: key[name] for name in ("ctx_size", "shape")}
        with span("launch a server", model=server.model.model_id, server_id=server.pk):
            _launch(server, engine, argv, build=build, counted_as=counted_as)


def _settle_port(server: Server) -> None:
    """See that the server's port is its own, or claim the next one."""
    stranger = server.port
    is_taken = (
        stranger is not None
        and not is_bindable(stranger)
        and not launcher.is_kept(server.pk)  # one of an earlier launch: it will be met
    )
    if is_taken:
        row.write(server, port=None)
    claim_port(server)
    if is_taken:
        why = f"port {stranger} is in use by another program; {server.port} is taken instead"
        row.remark(server, why)


def _launch(
    server: Server,
    engine: Engine,
    argv: list[str],
    *,
    build: str,
    counted_as: dict[str, object],
) -> None:
    # In the database before it is done: if this process dies between the two, the
    # next one finds STARTING without a pid, launches, and meets the keeper's lock.
    now = timezone.now()
    row.write(
        server,
        argv=argv,
        engine=str(engine),
        build=build,
        facts=counted_as,
        launched_at=now,
        progressed_at=now,
        ready_at=None,
        health_at=None,
        exit_code=None,
        last_error="",
        log_tail="",
        note="",
        peak_mib=None,
        next_start_at=None,
        drain_until=None,
        **row.no_process(),
    )
    try:
        started, kept = _start_or_find(server, engine, argv)
    except LaunchError as error:
        why = Ending(Cause.NOT_LAUNCHED, str(error), is_permanent=error.is_permanent)
        ending.conclude(server, why)
        return
    row.write(
        server,
        pid=kept.pid,
        pid_started_at=kept.started_at,
        keeper_pid=kept.keeper_pid,
        keeper_started_at=kept.keeper_started_at,
        boot_id=processes.boot_id(),
    )
    if not started and _runs_something_else(server, argv):
        row.remark(server, "the process of an earlier launch was still there; it is stopped")
        stopping.end_process(server)
        row.move(server, ServerState.STOPPED, why="an earlier launch", **row.no_process())
        return
    wait_until_ready(server)


def _start_or_find(
    server: Server, engine: Engine, argv: list[str]
) -> tuple[bool, launcher.Kept]:
    """Start the process, or find the one that this server's keeper has already.

    A keeper that has just written down an exit may still hold its lock for a moment,
    and a server whose keeper was killed until it is dead itself: then try again.
    """
    deadline = time.monotonic() + stopping.KEEPER_GRACE_S
    while True:
        started = launcher.launch(server.pk, engine, argv)
        kept = launcher.read_kept(server.pk)
        if started or kept.is_running or time.monotonic() > deadline:
            return started, kept
        time.sleep(KEPT_POLL_S)


def wait_until_ready(server: Server) -> None:
    """Follow a load to its end; a process that was launched by somebody else, too."""
    launched_at = server.launched_at or timezone.now()
    before_s = (timezone.now() - launched_at).total_seconds()
    began = time.monotonic()  # by a clock that nobody sets
    is_wanted = _every(WANTED_POLL_S, lambda: row.is_wanted_as_it_is(server))
    watch = loading.Watch(server)
    while is_wanted():
        # In this order: one that dies after the look at its health is seen next time.
        answer = probe.health(row.port_of(server), host=row.host())
        if not row.is_alive(server):
            ending.gone(server)
            return
        if answer == probe.Health.READY:
            _accept(server)
            return
        waited = before_s + time.monotonic() - began
        if why := watch.why_to_give_up(waited, answer):
            stopping.end_process(server)
            ending.conclude(server, Ending(Cause.SLOW, why, is_permanent=False))
            return
        time.sleep(READINESS_POLL_S)


def _accept(server: Server) -> None:
    """Take a server that answers for ours, if it names our model."""
    port, key = row.port_of(server), server_key(server.pk)
    said = probe.props(port, key, host=row.host())
    if said is None or said["model_path"] != server.model.file_path:
        stopping.end_process(server)
        who = f"a server of {said['model_path']}" if said else "another program"
        why = f"Port {server.port} is answered by {who}."
        ending.conclude(server, Ending(Cause.PORT_TAKEN, why, is_permanent=False))
        return
    work = probe.activity(port, key, host=row.host())
    facts = {**server.facts, **loading.facts(said), "progress": work.progress if work else ""}
    ready_at = timezone.now()
    seconds = (ready_at - (server.launched_at or ready_at)).total_seconds()
    row.move(
        server,
        ServerState.READY,
        why=f"it loaded in {seconds:.1f} s",
        ready_at=ready_at,
        progressed_at=ready_at,
        health_at=ready_at,
        load_progress=None,
        last_error="",
        facts=facts,
        note=loading.shortfall(server, facts),
    )
    room.measure(server)


def _runs_something_else(server: Server, argv: list[str]) -> bool:
    identity = row.identity(server)
    process = processes.find(identity) if identity else None
    # Its flags, not what is before them: a script is run by its interpreter.
    flags = argv[1:]
    return process is not None and process.cmdline()[-len(flags) :] != flags


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
