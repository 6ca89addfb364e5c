"""How far a load has come, when it has come to a halt, and what it has come to."""

import time
from typing import Any

import psutil
from django.conf import settings

from models_app.models import DiscoveredModel
from servers_app import launcher, probe, processes
from servers_app.models import Server
from servers_app.supervisor import row

LEAST_STARTUP_S = 60.0
STARTUP_S_PER_GIB = 20.0  # of a slow disk
LOOK_PERIOD_S = 0.25
MOVED_BYTES = 2**20  # each answer to us moves a little
AT_WORK = 0.5  # of a core
TELL_STEP = 0.01  # of progress that is worth a write


class Watch:
    """Follows the load of one server.

    Progress is what of the model's files is in memory: llama-server prints none of it at
    its usual verbosity. Anything that moves counts against a halt: memory, the log, the
    answer of /health, and a processor at work, more than our asking keeps it.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._moved_at = time.monotonic()
        self._looked_at = float("-inf")
        self._seen: tuple[object, ...] = ()
        self._resident_bytes = 0
        self._worked_s = 0.0
        self._told = server.load_progress or 0.0

    def why_to_give_up(self, waited_s: float, answer: probe.Health) -> str:
        """Look at the load; return why it shall not go on, or nothing.

        Args:
            waited_s: since the launch, by whichever worker.
        """
        now = time.monotonic()
        if now - self._looked_at >= LOOK_PERIOD_S:
            self._look(now, answer)
            self._looked_at = now
        limit_s = max_startup_s(self._server.model)
        if waited_s > limit_s:
            return (
                f"Not ready within {limit_s:.0f} s. If the model is large or the disk is slow, "
                "raise MODEL_MAX_STARTUP_TIME."
            )
        if now - self._moved_at > settings.MODEL_STALL_TIMEOUT:
            return (
                f"The load has stood still for {settings.MODEL_STALL_TIMEOUT} s: no memory, no "
                "processor time and no line of its log moved. See whether the disk answers, or "
                "raise MODEL_STALL_TIMEOUT."
            )
        return ""

    def _look(self, now: float, answer: probe.Health) -> None:
        identity = row.identity(self._server)
        process = processes.find(identity) if identity else None
        if process is None:
            return
        try:
            resident = process.memory_info().rss
            times = process.cpu_times()
        except psutil.Error:
            return  # it has ended, which is seen elsewhere
        worked_s = times.user + times.system
        is_at_work = worked_s - self._worked_s > AT_WORK * (now - self._looked_at)
        is_growing = abs(resident - self._resident_bytes) > MOVED_BYTES
        seen = (_log_bytes(self._server), answer)
        if seen != self._seen or is_at_work or is_growing:
            self._moved_at, self._resident_bytes = now, resident
        self._seen, self._worked_s = seen, worked_s
        self._tell(resident / max(1, self._server.model.size_bytes))

    def _tell(self, share: float) -> None:
        progress = min(0.99, round(share, 2))
        if progress >= self._told + TELL_STEP:
            self._told = progress
            row.write(self._server, load_progress=progress)
            row.tell(self._server)


def _log_bytes(server: Server) -> int:
    try:
        return launcher.log_path(server.pk).stat().st_size
    except OSError:
        return 0


def max_startup_s(model: DiscoveredModel) -> float:
    """Return how many seconds a model may take to load: as set, else by its size."""
    gib = model.size_bytes / 2**30
    return settings.MODEL_MAX_STARTUP_TIME or LEAST_STARTUP_S + gib * STARTUP_S_PER_GIB


def facts(said: dict[str, Any]) -> dict[str, Any]:
    """Return of an answer of /props what is worth keeping; builds differ in what they say."""
    defaults = said.get("default_generation_settings")
    return {
        "n_ctx": defaults.get("n_ctx") if isinstance(defaults, dict) else None,  # of a slot
        "total_slots": said.get("total_slots"),
        "modalities": said.get("modalities"),
        "build_info": said.get("build_info"),
        "model_alias": said.get("model_alias"),
    }


def shortfall(server: Server, came_to: dict[str, Any]) -> str:
    """Return what a server has less of than it was launched for; empty if nothing.

    `--fit` makes the context smaller without a word where memory is short.
    """
    asked, slots, each = (
        _flag(server.argv, "--ctx-size"),
        came_to["total_slots"],
        came_to["n_ctx"],
    )
    if not asked or not isinstance(slots, int) or not isinstance(each, int):
        return ""
    is_unified = "--kv-unified" in server.argv
    expected = asked if is_unified else asked // max(1, slots)
    if each + 256 > expected:  # it rounds
        return ""
    return f"has a context of {each} tokens a slot, where {expected} were asked for"


def _flag(argv: list[str], flag: str) -> int:
    try:
        return int(argv[argv.index(flag) + 1])
    except (ValueError, IndexError):
        return 0
