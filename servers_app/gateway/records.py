"""Write down requests that are over: each by itself for some days, and sums for good.

In SQL of its own: through Django's models a request costs three times as much, and all the
while the thread that writes keeps the gateway's from running.
"""

import json
import logging
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.db import DataError, IntegrityError, connection, transaction

from servers_app.gateway.tokens import MAX_TOKENS
from servers_app.gateway.trace import Outcome, Trace
from servers_app.models import Server
from servers_app.printable import printable
from servers_app.request_models import RequestRecord, UsageMinute

logger = logging.getLogger(__name__)

MAX_PROMPT_BYTES: Final = 8192

# What SQLite's and PostgreSQL's drivers say of a value that no column takes.
_UNFIT: Final = (DataError, IntegrityError, OverflowError, ValueError)

_FAILURES: Final = (Outcome.FAILED, Outcome.BROKEN)
_SUMS: Final = (
    "requests", "failures", "prompt_tokens", "cached_tokens", "completion_tokens",
    "answered", "first_byte_ms", "total_ms",
)  # fmt: skip


class SumKey(NamedTuple):
    minute: datetime
    model_id: str
    key: str
    tier: str


def record(traces: Sequence[Trace]) -> None:
    """Write down `traces` and add them to the sums of their minutes, in one transaction.

    Those that have been written down before are passed over, so that a batch whose
    commit is in doubt can be tried again. Where MAGI_REQUEST_LOG_DAYS is 0 only sums
    are kept, and nobody can tell: the sums of such a batch may count it twice.

    One that the database refuses for what is in it is left out, and logged: tried again and
    again, it would keep all that come after it.

    Raises:
        django.db.Error: the database is away, locked or full; to be tried again.
    """
    try:
        _record_all(traces)
    except _UNFIT as error:
        if len(traces) == 1:
            # Its first line: PostgreSQL goes on with the row, in which a prompt may be.
            why = str(error).partition("\n")[0]
            logger.warning("Request %s cannot be written down: %s", traces[0].request_id, why)
            return
        middle = len(traces) // 2
        record(traces[:middle])
        record(traces[middle:])


def _record_all(traces: Sequence[Trace]) -> None:
    with transaction.atomic():
        if settings.MAGI_REQUEST_LOG_DAYS:
            traces = _not_written(traces)
            _insert(traces)
        _add_to_sums(traces)


def _not_written(traces: Sequence[Trace]) -> list[Trace]:
    written = set(
        RequestRecord.objects.filter(
            request_id__in={trace.request_id for trace in traces}
        ).values_list("request_id", "at")
    )
    by_name = {(trace.request_id, _at(trace)): trace for trace in traces}
    return [trace for name, trace in by_name.items() if name not in written]


def _insert(traces: Sequence[Trace]) -> None:
    if not traces:
        return
    nodes = _nodes(traces)
    rows = [_columns(trace, nodes) for trace in traces]
    sql = _insert_into(RequestRecord._meta.db_table, rows[0])
    with connection.cursor() as cursor:
        cursor.executemany(sql, [list(row.values()) for row in rows])


def _columns(trace: Trace, nodes: Mapping[int, str]) -> dict[str, Any]:
    return {
        "request_id": trace.request_id,
        "at": _stored(_at(trace)),
        "key": trace.key,
        "path": printable(trace.path, 100),
        "asked": printable(trace.asked, 200),
        "model_id": trace.model_id,
        "server_id": trace.server_id,
        "node": nodes.get(trace.server_id, "") if trace.server_id is not None else "",
        "tier": trace.tier,
        "score": trace.score,
        "factors": json.dumps(
            {name: round(v, 3) for name, v in trace.factors.items() if math.isfinite(v)}
        ),
        "scored_by": trace.scored_by,
        "label": "",
        "prompt": _kept(trace.prompt) if settings.MAGI_KEEP_PROMPTS else "",
        "is_stream": trace.is_stream,
        "queued_ms": _ms(trace.queued_s),
        "first_byte_ms": None if trace.first_byte_s is None else _ms(trace.first_byte_s),
        "total_ms": _ms(trace.total_s or 0),
        "status": trace.status,
        "outcome": trace.outcome.value,
        "error_code": trace.error_code,
        "prompt_tokens": _tokens(trace.prompt_tokens),
        "cached_tokens": _tokens(trace.cached_tokens),
        "completion_tokens": _tokens(trace.completion_tokens),
    }


def _nodes(traces: Iterable[Trace]) -> dict[int, str]:
    ids = {trace.server_id for trace in traces if trace.server_id is not None}
    return dict(Server.objects.filter(pk__in=ids).values_list("pk", "node"))


def _add_to_sums(traces: Iterable[Trace]) -> None:
    sums: dict[SumKey, dict[str, float]] = defaultdict(lambda: dict.fromkeys(_SUMS, 0))
    for trace in traces:
        minute = _at(trace).replace(second=0, microsecond=0)
        of_minute = sums[SumKey(minute, trace.model_id, trace.key, trace.tier)]
        of_minute["requests"] += 1
        of_minute["failures"] += trace.outcome in _FAILURES
        of_minute["prompt_tokens"] += _tokens(trace.prompt_tokens) or 0
        of_minute["cached_tokens"] += _tokens(trace.cached_tokens) or 0
        of_minute["completion_tokens"] += _tokens(trace.completion_tokens) or 0
        of_minute["answered"] += trace.first_byte_s is not None
        of_minute["first_byte_ms"] += _ms(trace.first_byte_s or 0)
        of_minute["total_ms"] += _ms(trace.total_s or 0)
    table = UsageMinute._meta.db_table
    added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in _SUMS)
    # Always in the same order: two gateways that add to the same minutes wait, and never
    # for each other.
    rows = [
        {**key._asdict(), "minute": _stored(key.minute), **values}
        for key, values in sorted(sums.items(), key=itemgetter(0))
    ]
    if rows:
        insert, place = _insert_into(table, rows[0]), ", ".join(SumKey._fields)
        sql = f"{insert} ON CONFLICT ({place}) DO UPDATE SET {added}"  # nosec B608
        with connection.cursor() as cursor:
            cursor.executemany(sql, [list(row.values()) for row in rows])


def _insert_into(table: str, columns: Collection[str]) -> str:
    values = ", ".join(["%s"] * len(columns))
    names = ", ".join(columns)  # ours, as the table's is; the values go beside it
    return f"INSERT INTO {table} ({names}) VALUES ({values})"  # noqa: S608  # nosec B608


def _stored(moment: datetime) -> object:
    return connection.ops.adapt_datetimefield_value(moment)


def _at(trace: Trace) -> datetime:
    return datetime.fromtimestamp(trace.started_at, UTC)


def _tokens(told: int | None) -> int | None:
    """Return a server's count as the columns hold it: one bad row would keep all others."""
    return None if told is None else min(max(told, 0), MAX_TOKENS)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _kept(prompt: str) -> str:
    """Return the start of a prompt, without what PostgreSQL takes in no text."""
    start = prompt[:MAX_PROMPT_BYTES].replace("\0", "")
    return start.encode(errors="replace")[:MAX_PROMPT_BYTES].decode(errors="ignore")
