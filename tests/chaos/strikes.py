"""The parts that MAGI consists of, and how one of them is killed or paused."""

import random
import signal
import time
from collections.abc import Collection
from contextlib import suppress

import psutil

from tests.e2e.magi import Magi

KEEPER = "keeper"
# By words of their command lines; a keeper's has those of its server as well.
WORDS = {
    "server": ("servers_app.engine.embedded",),
    "worker": ("worker",),
    "beat": ("beat",),
    "web": ("uvicorn", "magi_site.web"),
}
PARTS = (*WORDS, KEEPER, "redis")


def strike(magi: Magi, chance: random.Random, parts: Collection[str] = PARTS) -> str:
    """Kill or pause one of `parts`; return what was done to whom."""
    name = chance.choice(list(parts))
    found = processes_of(magi, name)
    if not found:
        return f"no {name}"
    victim = chance.choice(found)
    with suppress(psutil.NoSuchProcess):
        if chance.random() < 0.6:
            victim.send_signal(signal.SIGKILL)
            return f"killed {name}"
        victim.send_signal(signal.SIGSTOP)
        try:
            time.sleep(chance.uniform(0.5, 3))
        finally:
            victim.send_signal(signal.SIGCONT)
        return f"paused {name}"
    return f"{name} was gone"


def processes_of(magi: Magi, part: str) -> list[psutil.Process]:
    """Return the processes that are this part of MAGI."""
    return [process for process in magi.processes() if _part_of(process) == part]


def _part_of(process: psutil.Process) -> str | None:
    try:
        words = " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return None
    if "keeper.py" in words:
        return KEEPER
    if "redis.sock" in words:
        return "redis"
    of_words = words.split()
    return next((part for part, any_of in WORDS.items() if {*any_of} & {*of_words}), None)
