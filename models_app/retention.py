"""Let go of old rows, in short transactions: others write meanwhile.

Rows that leave sums behind are added up and deleted in one transaction, so whoever is killed
in the middle of it has counted none twice and lost none. Two that do it at once pass over
what the other has in hand.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import DatabaseError, connection, transaction
from django.db.models import Model, QuerySet

log = logging.getLogger(__name__)

CHUNK: Final = 1000  # rows of a transaction
PAUSE_S: Final = 0.005  # after each: SQLite lets nobody in who does not ask just then


@dataclass(frozen=True, slots=True)
class Bound:
    """What keeps a table, or a folder, from growing for ever.

    `due` and `prune` take the time by which age is reckoned, and return how many rows (or
    files) are to go, or went. Both may be called at any time and any number of times.
    """

    name: str
    keeps: Callable[[], str]  # for people: what stays
    due: Callable[[datetime], int]
    prune: Callable[[datetime], int]


@dataclass(frozen=True, slots=True)
class Pruned:
    name: str
    keeps: str
    count: int | None  # None: it could not be done
    seconds: float
    problem: str = ""


def apply(
    bounds: Iterable[Bound], now: datetime, *, is_rehearsal: bool = False
) -> list[Pruned]:
    """Prune by all of `bounds`, or only count. What fails keeps none of the others from it."""
    return [_apply(bound, now, is_rehearsal=is_rehearsal) for bound in bounds]


def delete(rows: QuerySet[Any, Any], *, most: int | None = None) -> int:
    """Delete `rows`, in their order, and what hangs on them.

    Args:
        most: no more than so many.

    Returns:
        How many of them there were; what hung on them is not counted.
    """
    return _in_chunks(rows.only(_first_order(rows)), most=most, first=lambda chunk: None)


def fold(
    rows: QuerySet[Any, Any],
    into: type[Model],
    unique: Sequence[str],
    sums_of: Callable[[Any], tuple[tuple[Any, ...], Mapping[str, float]]],
) -> int:
    """Add `rows` to the sums of `into`, and delete them.

    Args:
        unique: the fields of `into` that name a sum.
        sums_of: returns the values of those fields for a row, and what it adds.

    Returns:
        How many rows there were.
    """

    def add(chunk: Sequence[Any]) -> None:
        sums: dict[tuple[Any, ...], dict[str, float]] = defaultdict(lambda: defaultdict(int))
        for row in chunk:
            name, values = sums_of(row)
            for field, value in values.items():
                sums[name][field] += value
        add_to(into, unique, sums)

    return _in_chunks(rows, most=None, first=add)


def add_to(
    into: type[Model],
    unique: Sequence[str],
    sums: Mapping[tuple[Any, ...], Mapping[str, float]],
) -> None:
    """Add to the rows of `into`, or make them; always in the same order, so that two who do
    it at once wait, and never for each other.
    """
    if not sums:
        return
    table = into._meta.db_table  # ours, as the names of its columns are
    fields = list(next(iter(sums.values())))
    names, places = [*unique, *fields], ", ".join(["%s"] * (len(unique) + len(fields)))
    added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in fields)
    sql = (
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places}) "  # noqa: S608
        f"ON CONFLICT ({', '.join(unique)}) DO UPDATE SET {added}"  # nosec B608
    )
    rows = [
        [*map(_stored, name), *(values[field] for field in fields)]
        for name, values in sorted(sums.items(), key=lambda item: item[0])
    ]
    with connection.cursor() as cursor:
        cursor.executemany(sql, rows)


def _first_order(rows: QuerySet[Any, Any]) -> str:
    """Return the field that rows are ordered by, which is one of their own, ascending."""
    return str(rows.query.order_by[0]) if rows.query.order_by else "pk"


def _in_chunks(
    rows: QuerySet[Any, Any], *, most: int | None, first: Callable[[Sequence[Any]], None]
) -> int:
    count, field = 0, _first_order(rows)
    todo = rows
    while most is None or count < most:
        size = CHUNK if most is None else min(CHUNK, most - count)
        with transaction.atomic():
            # SQLite has no such locks, and needs none: its transaction is alone.
            chunk = list(todo.select_for_update(skip_locked=True, of=("self",))[:size])
            if chunk:
                first(chunk)
                # PostgreSQL would go over all that is deleted once more with each chunk.
                todo = rows.filter(**{f"{field}__gte": getattr(chunk[-1], field)})
                pks = [row.pk for row in chunk]
                rows.model._base_manager.filter(pk__in=pks).delete()
        count += len(chunk)
        if len(chunk) < size:
            break
        time.sleep(PAUSE_S)
    return count


def _apply(bound: Bound, now: datetime, *, is_rehearsal: bool) -> Pruned:
    began = time.monotonic()
    count, problem = None, ""
    try:
        count = bound.due(now) if is_rehearsal else bound.prune(now)
    except (DatabaseError, OSError) as error:
        problem = str(error).strip() or type(error).__name__
        log.warning("The %s cannot be pruned: %s", bound.name, problem)
    seconds = time.monotonic() - began
    if count and not is_rehearsal:
        log.info("Pruned %d of the %s in %.1f s", count, bound.name, seconds)
    return Pruned(bound.name, bound.keeps(), count, seconds, problem)


def _stored(value: Any) -> Any:
    return connection.ops.adapt_datefield_value(value) if hasattr(value, "year") else value
