"""What the processes of a soaked MAGI take, and whether it grows; what its tables hold."""

import sqlite3
import time
from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

import psutil
import psycopg
from psycopg import sql
from rich.console import Console
from rich.table import Table

from tests.chaos.strikes import PARTS, processes_of
from tests.e2e.magi import Magi

MIB: Final = 2**20
WARM_UP_S: Final = 60.0  # of a process: what it loads then is no leak
LEAST_S: Final = 90.0  # of its life after that, to tell
GROWTH: Final = 1.15  # the last third beside the first
LEAST_MIB, LEAST_DESCRIPTORS = 16.0, 24  # less is noise


@dataclass
class _Life:
    """One process, looked at again and again: seconds of its life, and what it took."""

    part: str
    samples: list[tuple[float, float, int, int]] = field(default_factory=list)

    def thirds(self, column: int) -> tuple[float, float] | None:
        """Return the medians of the first and the last third after the warm-up."""
        values = [sample[column] for sample in self.samples if sample[0] >= WARM_UP_S]
        if not values or self.samples[-1][0] - WARM_UP_S < LEAST_S:
            return None
        third = max(1, len(values) // 3)
        return median(values[:third]), median(values[-third:])


class Sampler:
    """Looks at all processes of a MAGI."""

    def __init__(self, magi: Magi) -> None:
        self._magi = magi
        self._lives: dict[tuple[int, float], _Life] = {}

    def look(self) -> None:
        for part in PARTS:
            for process in processes_of(self._magi, part):
                try:
                    began, now = process.create_time(), time.time()
                    sample = (
                        now - began,
                        process.memory_info().rss / MIB,
                        process.num_fds(),
                        len(process.net_connections()),
                    )
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
                life = self._lives.setdefault((process.pid, began), _Life(part))
                life.samples.append(sample)

    def leaks(self) -> list[str]:
        """Return a sentence for each process that took more and more."""
        found = []
        kinds = ((1, "MiB", LEAST_MIB), (2, "descriptors", LEAST_DESCRIPTORS))
        for (pid, _), life in self._lives.items():
            for column, unit, least in kinds:
                thirds = life.thirds(column)
                if thirds is None:
                    continue
                first, last = thirds
                if last > first * GROWTH and last - first > least:
                    found.append(f"{life.part} {pid} grew: {first:.0f} to {last:.0f} {unit}")
        return found

    def figures(self) -> dict[str, dict[str, Any]]:
        """Return by part what the longest-lived of its processes took, first and last."""
        by_part: dict[str, list[_Life]] = defaultdict(list)
        for life in self._lives.values():
            by_part[life.part].append(life)
        figures = {}
        for part, lives in by_part.items():
            longest = max(lives, key=lambda life: life.samples[-1][0])
            figures[part] = {
                "processes": len(lives),
                "longest_s": longest.samples[-1][0],
                "rss_mib": longest.thirds(1),
                "descriptors": longest.thirds(2),
                "connections": longest.thirds(3),
                "peak_rss_mib": max(sample[1] for life in lives for sample in life.samples),
            }
        return figures


def rows_by_table(magi: Magi) -> dict[str, int]:
    """Count the rows of every table that has some."""
    if url := magi.environment.get("DATABASE_URL"):
        with psycopg.connect(url) as connection:
            names = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            ).fetchall()
            counted = {}
            for (name,) in names:
                query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))
                row = connection.execute(query).fetchone()
                counted[name] = row[0] if row else 0
    else:
        path = magi.data_dir / "data" / "magi.sqlite3"
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            tables = database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table'"
            ).fetchall()
            counted = {
                name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608 - its own tables
                for (name,) in tables
            }
    return {name: count for name, count in sorted(counted.items()) if count}


def show(console: Console, result: dict[str, Any]) -> None:
    """Print what a soak came to."""
    outcomes = ", ".join(f"{count:,} {name}" for name, count in result["outcomes"].items())
    console.print(f"{result['requests']:,} requests in {result['minutes']:g} min: {outcomes}")
    quiet = result["undisturbed"]
    console.print(
        f"Undisturbed: {quiet['whole']:,} of {quiet['requests']:,} whole, "
        f"{quiet['whole_share']:.2%}; the budget is {result['budget']:.0%}."
    )
    table = Table("Part", "Processes", "MiB", "Peak", "Descriptors", "Connections", box=None)
    for part, taken in result["processes"].items():
        table.add_row(
            part,
            str(taken["processes"]),
            _then_now(taken["rss_mib"]),
            f"{taken['peak_rss_mib']:.0f}",
            _then_now(taken["descriptors"]),
            _then_now(taken["connections"]),
        )
    console.print(table)
    rows = Table("Table", "Rows after a tenth", "At the end", box=None)
    for name, (before, after) in result["rows"].items():
        if after != before:
            rows.add_row(name, f"{before:,}", f"{after:,}")
    console.print(rows)
    console.print(f"{len(result['acts'])} acts; repeat them with --seed {result['seed']}.")
    console.print(
        "As wanted at the end." if result["as_wanted"] else "NOT as wanted at the end."
    )
    for sentence in result["wrong"]:
        console.print(f"[red]{sentence}[/]")


def _then_now(thirds: tuple[float, float] | None) -> str:
    return "too short a life" if thirds is None else f"{thirds[0]:.0f} → {thirds[1]:.0f}"
