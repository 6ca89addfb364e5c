"""By which clock old rows are judged: one that jumped forward deletes nothing too early.

A machine's clock may be set, rightly or wrongly, by NTP, by a person or by a resumed VM. What
was deleted by a wrong one does not come back when it is set right. So age is reckoned by the
earlier of the database's clock and this machine's, and where this machine's has gone on
further than the time that passed (`CLOCK_BOOTTIME`, which nobody sets), by the clock as it
was before, until the new one has held for a day.
"""

import json
import logging
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

from django.conf import settings
from django.db import connection
from django.utils import timezone

log = logging.getLogger(__name__)

TOLERANCE_S: Final = 3600.0  # rows are kept for days; clocks drift
TRIAL_S: Final = 86_400.0  # for which a clock must hold that has jumped forward
OFF_S: Final = 2 * 86_400.0  # a machine may have been off for so long, and nobody wonders


def uptime_s() -> float:
    """Return the seconds since this machine was started, those that it slept among them."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


def boot_id() -> str:
    """Return what is new at every boot; empty where the system has no such thing."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Memory:
    """What was seen of the clock when it was last asked: seconds."""

    boot: str
    seen_at: float  # Unix time, as it was believed
    booted_at: float  # Unix time less the uptime: it stays as it is unless somebody sets it
    jumped_to: float | None = None  # the same, of a clock that is on trial
    on_trial_since: float = 0.0  # uptime

    @classmethod
    def read(cls, path: Path) -> Self | None:
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):  # none, or none that is whole
            return None

    def write(self, path: Path) -> None:
        temporary = path.with_suffix(".tmp")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.write_text(json.dumps(asdict(self)))
            temporary.replace(path)
        except OSError as error:
            log.warning("What is known of the clock cannot be kept in %s: %s", path, error)


def believed_now() -> datetime:
    """Return the time by which rows are old: never later than it is, as far as can be told."""
    return min(_by_this_machine(), database_now())


def now_after(moment: datetime | None) -> datetime:
    """Return the time, or the moment just after `moment` where that is of a clock that was
    ahead: what comes later is later than what it is compared with.
    """
    now = timezone.now()
    return now if moment is None or moment < now else moment + timedelta(microseconds=1)


def database_now() -> datetime:
    """Return the time by the database's clock; SQLite has that of this machine."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def _by_this_machine() -> datetime:
    path = Path(settings.MAGI_RUN_DIR) / "clock.json"
    now, up = timezone.now().timestamp(), uptime_s()
    memory = _after(Memory.read(path), now, up)
    memory.write(path)
    if memory.jumped_to is not None:
        log.warning(
            "The clock is %s ahead of what it should be: for a day, rows are judged by %s",
            timedelta(seconds=round(memory.jumped_to - memory.booted_at)),
            datetime.fromtimestamp(memory.seen_at, UTC).isoformat(timespec="seconds"),
        )
    return datetime.fromtimestamp(memory.seen_at, UTC)


def _after(last: Memory | None, now: float, up: float) -> Memory:
    """Return what is known of a clock that says `now`, given what was known of it before."""
    boot, booted_at = boot_id(), now - up
    believed = Memory(boot, now, booted_at)
    if last is None:
        return believed
    if last.boot != boot:
        if now - last.seen_at <= OFF_S:
            return believed
        # As if no time had passed while it was off: it is deleted a day later, if at all.
        last = Memory(boot, last.seen_at, last.seen_at - up)
    if booted_at - last.booted_at <= TOLERANCE_S:
        return believed
    is_steady = (
        last.jumped_to is not None and abs(booted_at - last.jumped_to) <= TOLERANCE_S
    )  # fmt: skip
    since = last.on_trial_since if is_steady else up
    if up - since >= TRIAL_S:
        return believed
    return Memory(boot, last.booted_at + up, last.booted_at, booted_at, since)
