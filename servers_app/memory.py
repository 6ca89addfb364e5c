"""The memory ledger: what each server was promised, what it takes, and what is left.

A promise is `Server.memory_mib`, written with STARTING. Two launches at once must not both
be promised the same memory: who calls `admit` holds `node_lock("memory")` until the promise
is written.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import psutil
from django.conf import settings as django_settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from models_app.models import DiscoveredModel
from models_app.rows import CTX_SIZE
from profiles_app.models import Profile
from profiles_app.resolution import memory_mib, projector_path, settings_of_all
from profiles_app.runsettings import MAX_INT, Setting
from servers_app import launcher, processes
from servers_app.admission import Decision, Gpu, Machine, Need, Running, decide
from servers_app.bench.promises import promises
from servers_app.errors import LaunchError
from servers_app.hardware import own_memory, read_gpus, read_memory, vram_bytes_by_pid
from servers_app.models import RUNNING, EngineBuild, MemoryMeasurement, Server, ServerState

MIB: Final = 2**20
POLL_S: Final = 0.05
RETURNED: Final = 0.75  # of what it had; Ollama waits for as much (server/sched.go)

_LOADED: Final = (ServerState.READY, ServerState.UNHEALTHY)
# Settings that decide over memory; mmproj and ctx_size are written in ways of their own.
_SHAPING: Final = (
    "parallel",
    "kv_unified",
    "cache_type_k",
    "cache_type_v",
    "ubatch_size",
    "n_gpu_layers",
    "flash_attn",
    "lora",
    "model_draft",
    "extra_args",
)
_SHAPE_CHARS: Final = 200
_DIGEST_CHARS: Final = 32


@dataclass(frozen=True, slots=True)
class Usage:
    """MiB of a process and its children. Anonymous is what is no page cache."""

    resident_mib: int = 0
    anonymous_mib: int = 0
    vram_mib: int = 0


# -- what a launch needs


def need_of(
    model: DiscoveredModel, settings: Mapping[str, Setting], build: str, node: str
) -> Need:
    """Return what a launch on this machine needs: as last measured, else by estimate.

    Args:
        build: `EngineBuild.version` of the engine; one that lists no devices puts nothing
            on a GPU.
        node: this machine's name, under which it was measured.
    """
    estimated = memory_mib(model, settings)
    vram = _vram_share(model, settings, estimated, _free_vram_mib(build, node))
    need = Need(model.display_name, ram_mib=estimated - vram, vram_mib=vram)
    seen = MemoryMeasurement.objects.filter(**key_of(model, settings, build, node)).first()
    if seen is None:
        return need
    # NVML does not see the processes of a container: 0 is then not what was taken.
    return replace(need, ram_mib=seen.ram_mib, vram_mib=seen.vram_mib or vram)


def record(server: Server, usage: Usage) -> None:
    """Remember the most that this launch of `server` was seen to take.

    It replaces what an earlier launch took, so that a smaller build is not counted with
    the memory of a larger one. A server that is still loading is not remembered.
    What it was launched with is in its facts: its settings may have been edited since.
    """
    total = usage.resident_mib + usage.vram_mib
    rows = Server.objects.filter(pk=server.pk)
    rows.filter(Q(peak_mib__isnull=True) | Q(peak_mib__lt=total)).update(peak_mib=total)
    if server.state not in _LOADED or not usage.resident_mib or "shape" not in server.facts:
        return
    most = {"ram_mib": usage.resident_mib, "vram_mib": usage.vram_mib}
    key = {
        "model": server.model,
        "node": server.node,
        "build": server.build,
        "ctx_size": server.facts["ctx_size"],
        "shape": server.facts["shape"],
    }
    with transaction.atomic():
        seen, _ = MemoryMeasurement.objects.select_for_update().get_or_create(
            **key, defaults=most
        )
        is_older = server.launched_at is not None and seen.measured_at < server.launched_at
        if not is_older:
            most = {name: max(value, getattr(seen, name)) for name, value in most.items()}
        if is_older or any(getattr(seen, name) != value for name, value in most.items()):
            MemoryMeasurement.objects.filter(pk=seen.pk).update(
                **most, measured_at=timezone.now()
            )


def key_of(
    model: DiscoveredModel, settings: Mapping[str, Setting], build: str, node: str
) -> dict[str, Any]:
    """Return what a measurement is kept for."""
    return {
        "model": model,
        "node": node,
        "build": build[:100],
        # What a file claims to be trained for may be any number.
        "ctx_size": min(
            settings["ctx_size"].value or model.context_length or CTX_SIZE, MAX_INT
        ),
        "shape": _shape(model, settings),
    }


def _shape(model: DiscoveredModel, settings: Mapping[str, Setting]) -> str:
    """Return the settings that memory depends on, and the size of the file, as a text."""
    values = {name: settings[name].value for name in _SHAPING}
    values |= {"mmproj": projector_path(model, settings), "size_bytes": model.size_bytes}
    shape = " ".join(
        f"{name}={json.dumps(value, sort_keys=True)}" for name, value in values.items() if value
    )
    if len(shape) <= _SHAPE_CHARS:
        return shape
    digest = hashlib.sha256(shape.encode()).hexdigest()[:_DIGEST_CHARS]
    return f"{shape[: _SHAPE_CHARS - _DIGEST_CHARS - 1]} {digest}"


def _free_vram_mib(build: str, node: str) -> int | None:
    """Return what is free on all GPUs together; None where the engine has none to use."""
    gpus = own_memory(read_gpus()[0])
    engines = EngineBuild.objects.filter(node=node, version=build) if gpus and build else ()
    if not gpus or (engines and not any(engine.devices for engine in engines)):
        return None
    return sum(gpu.free_bytes for gpu in gpus) // MIB


def _vram_share(
    model: DiscoveredModel,
    settings: Mapping[str, Setting],
    total_mib: int,
    free_vram_mib: int | None,
) -> int:
    """Return how much of `total_mib` goes to the GPUs: the share of its layers.

    The output layer counts as one. With `auto`, llama-server puts there what fits.
    """
    layers: int | str = settings["n_gpu_layers"].value
    if free_vram_mib is None or layers == 0:
        return 0
    if layers == "auto":
        return min(total_mib, free_vram_mib)
    block_count: int | None = model.metadata.get("block_count")
    if isinstance(layers, str) or not block_count:  # all
        return total_mib
    return round(total_mib * min(1.0, layers / (block_count + 1)))


# -- what there is


def machine() -> Machine:
    """Return what this machine, or its container, has and has free."""
    memory = read_memory()
    gpus = own_memory(read_gpus()[0])
    return Machine(
        total_mib=memory.total_bytes // MIB,
        available_mib=memory.available_bytes // MIB,
        reserve_mib=django_settings.MAGI_MEMORY_RESERVE_MIB,
        gpus=tuple(Gpu(gpu.total_bytes // MIB, gpu.free_bytes // MIB) for gpu in gpus),
    )


def measure(pid: int, keeper_pid: int | None) -> Usage:
    """Return what a server takes with its children, and its keeper if that lives.

    Nothing, when nobody has `pid`: make sure that it is still the server's.
    """
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        if keeper_pid is not None and process.ppid() == keeper_pid:
            family.append(psutil.Process(keeper_pid))
    except psutil.NoSuchProcess:
        return Usage()
    by_pid = vram_bytes_by_pid()
    resident = anonymous = vram = 0
    for member in family:
        try:
            memory = member.memory_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        resident += memory.rss
        # Only Linux says what is shared; elsewhere mapped files are not called available.
        anonymous += memory.rss - getattr(memory, "shared", 0)
        vram += by_pid.get(member.pid, 0)
    return Usage(_mib(resident), _mib(anonymous), _mib(vram))


def running_on(node: str) -> list[Running]:
    """Return the servers that have memory on `node`, which is this machine.

    Those of measurements are among them, which have no row and never give way. Whether one
    is busy is not known here: `admit` asks.
    """
    servers = list(Server.objects.filter(node=node, state__in=RUNNING).select_related("model"))
    profile = Profile.objects.filter(is_active=True).first()
    settings = settings_of_all([server.model for server in servers], profile)
    now = timezone.now()
    of_rows = [_running(server, settings[server.model.model_id], now) for server in servers]
    return of_rows + _measured()


def _measured() -> list[Running]:
    """Return the servers of measurements."""
    return [
        Running(
            server_id=number,
            name=promised.name,
            counted_mib=promised.ram_mib,
            counted_vram_mib=promised.vram_mib,
            resident_mib=usage.resident_mib,
            anonymous_mib=usage.anonymous_mib,
            vram_mib=usage.vram_mib,
            ready_seconds=0.0,
            may_be_evicted=False,
        )
        for number, promised in promises().items()
        for usage in (_usage_of_number(number),)
    ]


def _usage_of_number(number: int) -> Usage:
    try:
        kept = launcher.read_kept(number)
    except LaunchError:
        return Usage()  # it is being launched
    return measure(kept.pid, kept.keeper_pid) if kept.is_running else Usage()


def _running(server: Server, settings: Mapping[str, Setting], now: datetime) -> Running:
    counted = server.memory_mib
    if counted is None:
        counted = memory_mib(server.model, settings)
    usage = _usage_of(server)
    free = _free_vram_mib(server.build, server.node)
    room = None if free is None else free + usage.vram_mib
    vram = _vram_share(server.model, settings, counted, room)
    is_ready = server.state in _LOADED
    used_at = max(filter(None, (server.last_used_at, server.ready_at)), default=now)
    return Running(
        server_id=server.pk,
        name=server.model.display_name,
        counted_mib=counted - vram,
        counted_vram_mib=vram,
        resident_mib=usage.resident_mib,
        anonymous_mib=usage.anonymous_mib,
        vram_mib=usage.vram_mib,
        is_stopping=server.state == ServerState.STOPPING,
        idle_seconds=(now - used_at).total_seconds(),
        ready_seconds=(
            (now - server.ready_at).total_seconds() if is_ready and server.ready_at else None
        ),
    )


def _usage_of(server: Server) -> Usage:
    if server.pid is None or server.pid_started_at is None:
        return Usage()
    identity = processes.ProcessIdentity(server.pid, server.pid_started_at, server.boot_id)
    if processes.find(identity) is None:
        return Usage()
    return measure(server.pid, server.keeper_pid)


def _mib(size_bytes: int) -> int:
    return -(-size_bytes // MIB)


# -- what to do


def admit(
    need: Need,
    *,
    node: str,
    budget_mib: int | None,
    eviction: str,
    busy: Callable[[int], bool],
    server_id: int | None = None,
) -> Decision:
    """Return whether `need` fits beside what runs on `node`, which is this machine.

    Args:
        budget_mib: `Profile.memory_budget_mib`.
        eviction: `Profile.eviction`.
        busy: whether a server, by its id, has requests in flight.
        server_id: the server that is to be launched: a promise it has already is not
            counted beside the new one.
    """
    running = [
        replace(server, is_busy=busy(server.server_id))
        for server in running_on(node)
        if server.server_id != server_id
    ]
    return decide(need, machine(), running, budget_mib=budget_mib, eviction=eviction)


def wait_until_back(
    before_available_mib: int,
    freed_mib: int,
    *,
    before_vram_mib: int = 0,
    freed_vram_mib: int = 0,
    timeout_s: float = 5.0,
) -> bool:
    """Wait after a stop until the system has most of the server's memory back.

    A driver gives VRAM back up to a second and a half after the process has ended. For a
    process that had crashed give 0 as freed: there is nothing to wait for.

    Args:
        before_available_mib: `Machine.available_mib` before the stop.
        freed_mib: `Usage.anonymous_mib` before the stop; page cache was available already.
        before_vram_mib: free on all GPUs together before the stop.
        freed_vram_mib: `Usage.vram_mib` before the stop.

    Returns:
        Whether it came back. What other programs took meanwhile is not told from it.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        now = machine()
        vram = sum(gpu.free_mib for gpu in now.gpus)
        is_back = (
            now.available_mib - before_available_mib >= freed_mib * RETURNED or not freed_mib
        ) and (vram - before_vram_mib >= freed_vram_mib * RETURNED or not freed_vram_mib)
        if is_back or time.monotonic() >= deadline:
            return is_back
        time.sleep(POLL_S)
