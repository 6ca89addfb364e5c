"""A llama-server for one measurement: launched as MAGI launches all, and gone at its end."""

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from django.conf import settings as django_settings

from models_app.copies import as_on
from models_app.errors import NotOnNodeError
from models_app.locks import node_lock
from models_app.models import DiscoveredModel
from profiles_app.filepaths import why_not_launched
from profiles_app.models import Profile
from profiles_app.resolution import settings_of
from profiles_app.runsettings import Setting
from profiles_app.services import active_profile
from servers_app import launcher, logs, memory, probe, processes
from servers_app.admission import Decision, Fits, Refused, Wait
from servers_app.bench import pagecache, private
from servers_app.bench.promises import Promise, promise
from servers_app.engine.argv import server_argv
from servers_app.engine.binary import Engine, find_engine
from servers_app.engine.builds import capabilities
from servers_app.errors import (
    BenchmarkCancelledError,
    BenchmarkError,
    LaunchError,
    ServersError,
)
from servers_app.exits import Cause, Ending, explain
from servers_app.keys import server_key
from servers_app.models import Server, ServerState
from servers_app.ports import LOOPBACK, is_bindable, port_range
from servers_app.processes import ProcessIdentity
from servers_app.supervisor import room, row
from servers_app.supervisor.loading import max_startup_s

ONE_AT_A_TIME: Final = "benchmark"  # the lock of a node: two at once would measure each other
ORIGIN: Final = "measurement"  # of settings that it tries
READY_POLL_S: Final = 0.01
ROOM_POLL_S: Final = 0.25
MEMORY_PATIENCE_S: Final = 30.0  # for the memory of servers that are stopping
TRIES: Final = 3  # of ports: another program may take one before llama-server does


@dataclass(frozen=True, slots=True)
class Target:
    """A llama-server that is measured."""

    model_path: str
    port: int
    key: str
    host: str
    build: str
    settings: Mapping[str, Setting]
    context: int  # tokens of one slot
    slots: int
    process: ProcessIdentity
    keeper_pid: int | None = None
    load_seconds: float | None = None  # None of one that ran already
    why_not_cold: str = ""  # empty: its files came from the disk, if that was asked for

    def usage(self) -> memory.Usage:
        """Return what it takes now; nothing, when it has ended."""
        if processes.find(self.process) is None:
            return memory.Usage()
        return memory.measure(self.process.pid, self.keeper_pid)


def settings_for(
    model: DiscoveredModel, values: Mapping[str, Any] | None = None
) -> dict[str, Setting]:
    """Return a model's run settings in the active profile, with `values` in place of some."""
    settings = settings_of(model, active_profile())
    for name, value in (values or {}).items():
        settings[name] = replace(settings[name], value=value, origin=ORIGIN, note="")
    return settings


@contextmanager
def launched(
    model: DiscoveredModel,
    settings: Mapping[str, Setting],
    *,
    is_cold: bool = False,
    is_wanted: Callable[[], bool] = lambda: True,
) -> Iterator[Target]:
    """Launch a private llama-server, and end it.

    It has a row nowhere, a port outside the range, and a key of its own; its memory is
    counted like that of any server, and no other server gives way to it.

    Args:
        settings: all of them, as `settings_for` gives them.
        is_cold: have the system forget the model's files before.
        is_wanted: asked many times a second while it loads.

    Raises:
        BenchmarkError: there is no room for it, or it did not come up; the message says why.
        BenchmarkCancelledError: it is not wanted any more.
        EngineError: there is no llama-server.
    """
    model = _here(model)
    if not model.is_launchable:
        msg = f"{model.problem or 'The file of the model is missing'}."
        raise BenchmarkError(msg)
    if why := why_not_launched({name: setting.value for name, setting in settings.items()}):
        raise BenchmarkError(why)
    engine = _engine()
    build = capabilities(engine).version.text[:100]
    with private.reserved() as number:
        _admit(number, model, settings, build, is_wanted)
        why_not_cold = pagecache.drop(pagecache.files_of(model)) if is_cold else ""
        target = _launch(number, engine, model, settings, is_wanted)
        try:
            yield replace(target, build=build, why_not_cold=why_not_cold)
        except BenchmarkCancelledError:
            raise
        except BenchmarkError as error:
            if ending := _ending(number, was_ready=True):
                raise BenchmarkError(ending.sentence) from error
            raise


@contextmanager
def serving(model: DiscoveredModel) -> Iterator[Target]:
    """Give the model's own server, as it runs; its requests go on beside the measurement.

    Raises:
        BenchmarkError: none is ready on this machine.
    """
    servers = Server.objects.filter(
        model=model, node=django_settings.MAGI_NODE, state=ServerState.READY
    )
    server = servers.order_by("replica").first()
    identity = row.identity(server) if server else None
    if server is None or identity is None:
        msg = (
            f"{model.model_id} has no server that is ready on this machine. Start it, or "
            "measure a private one."
        )
        raise BenchmarkError(msg)
    port, key = row.port_of(server), server_key(server.pk)
    model = _here(model)
    slots, context = _shape(_props(port, key, model.file_path, host=row.host()))
    yield Target(
        model_path=model.file_path,
        port=port,
        key=key,
        host=row.host(),
        build=server.build,
        settings=settings_for(model),
        context=context,
        slots=slots,
        process=identity,
        keeper_pid=server.keeper_pid,
    )


def _here(model: DiscoveredModel) -> DiscoveredModel:
    """Return a model with the paths that it has on this machine."""
    try:
        return as_on(model, django_settings.MAGI_NODE)
    except NotOnNodeError as error:
        raise BenchmarkError(str(error)) from error


def _engine() -> Engine:
    profile = active_profile()
    return find_engine(profile.engine if profile else "")


def _decide(model: DiscoveredModel, settings: Mapping[str, Setting], build: str) -> Decision:
    profile = active_profile() or Profile()
    node = django_settings.MAGI_NODE
    return memory.admit(
        memory.need_of(model, settings, build, node),
        node=node,
        budget_mib=profile.memory_budget_mib,
        eviction="never",
        busy=room.is_busy,
    )


def _sentence(decision: Decision) -> str:
    """Say why there is no room; nothing where there is. Nobody is evicted for a measurement."""
    return decision.sentence if isinstance(decision, Wait | Refused) else ""


def _admit(
    number: int,
    model: DiscoveredModel,
    settings: Mapping[str, Setting],
    build: str,
    is_wanted: Callable[[], bool],
) -> None:
    deadline = time.monotonic() + MEMORY_PATIENCE_S
    while True:
        with node_lock("memory", wait=lambda: True):
            decision = _decide(model, settings, build)
            if isinstance(decision, Fits):
                need = memory.need_of(model, settings, build, django_settings.MAGI_NODE)
                promise(number, Promise(f"{need.name} (measured)", need.ram_mib, need.vram_mib))
                return
        if not is_wanted():
            raise BenchmarkCancelledError
        if not isinstance(decision, Wait) or time.monotonic() > deadline:
            raise BenchmarkError(_sentence(decision))
        time.sleep(ROOM_POLL_S)


def _launch(
    number: int,
    engine: Engine,
    model: DiscoveredModel,
    settings: Mapping[str, Setting],
    is_wanted: Callable[[], bool],
) -> Target:
    for tries_left in reversed(range(TRIES)):
        port = free_port()
        argv = server_argv(engine, model, port, settings)
        began = time.monotonic()
        try:
            launcher.launch(number, engine, argv)
            kept = launcher.read_kept(number)
        except LaunchError as error:
            raise BenchmarkError(str(error)) from error
        if _is_ready(number, model, port, kept, began, is_wanted):
            break
        ending = _ending(number)
        if ending is None or ending.cause != Cause.PORT_TAKEN or not tries_left:
            raise BenchmarkError(ending.sentence if ending else "llama-server has ended.")
    seconds = time.monotonic() - began
    key = server_key(number)
    slots, context = _shape(_props(port, key, model.file_path))
    return Target(
        model_path=model.file_path,
        port=port,
        key=key,
        host=LOOPBACK,
        build="",
        settings=settings,
        context=context,
        slots=slots,
        process=ProcessIdentity(kept.pid, kept.started_at or 0.0, processes.boot_id()),
        keeper_pid=kept.keeper_pid,
        load_seconds=seconds,
    )


def _is_ready(
    number: int,
    model: DiscoveredModel,
    port: int,
    kept: launcher.Kept,
    began: float,
    is_wanted: Callable[[], bool],
) -> bool:
    """Wait until a launch serves; False if its process has ended."""
    limit_s = max_startup_s(model)
    while is_wanted():
        health = probe.health(port)
        if not launcher.read_kept(number).is_running:
            return False
        if health == probe.Health.READY:
            return True
        if time.monotonic() - began > limit_s:
            msg = f"Not ready within {limit_s:.0f} s; raise MODEL_MAX_STARTUP_TIME."
            raise BenchmarkError(msg)
        time.sleep(READY_POLL_S)
    raise BenchmarkCancelledError


def free_port() -> int:
    """Return a port that nobody has, outside the range and not the web server's.

    Raises:
        BenchmarkError: the system has none.
    """
    for _ in range(len(port_range()) + 100):
        with socket.socket() as found:
            found.bind((LOOPBACK, 0))
            port: int = found.getsockname()[1]
        if port not in port_range() and is_bindable(port, LOOPBACK):
            return port
    msg = "No port is free outside MODEL_PORT_RANGE_START to MODEL_PORT_RANGE_END."
    raise BenchmarkError(msg)


def _props(port: int, key: str, model_path: str, *, host: str = LOOPBACK) -> dict[str, Any]:
    said = probe.props(port, key, host=host)
    if said is None or said["model_path"] != model_path:
        msg = f"Port {port} is answered by another program. Measure again."
        raise BenchmarkError(msg)
    return said


def _shape(said: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many slots there are, and the tokens of each."""
    defaults = said.get("default_generation_settings")
    context = defaults.get("n_ctx") if isinstance(defaults, dict) else None
    if not isinstance(context, int):
        msg = "This llama-server does not say how long its context is. Use a newer build."
        raise BenchmarkError(msg)
    slots = said.get("total_slots")
    return (slots if isinstance(slots, int) else 1), context


def _ending(number: int, *, was_ready: bool = False) -> Ending | None:
    """Return how a private server ended by itself; None if it runs."""
    try:
        kept = launcher.read_kept(number)
    except ServersError:
        return None
    if kept.is_running:
        return None
    deadline = time.monotonic() + 1.0  # its keeper may still be writing
    while (ended := launcher.read_exit(number, kept.pid)) is None:
        if time.monotonic() > deadline:
            return None
        time.sleep(READY_POLL_S)
    log = logs.since_last_launch(number)
    return explain(ended.returncode, log, oom_kills=ended.oom_kills, was_ready=was_ready)
