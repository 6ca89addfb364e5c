"""What requests came to: the sums of minutes, by model or by who asked, by hour or by day."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final, NamedTuple

from django.db.models import (
    Case,
    CharField,
    Expression,
    F,
    IntegerField,
    QuerySet,
    Sum,
    Value,
    When,
)
from django.utils import timezone

from servers_app.apikey_models import ApiKey
from servers_app.request_models import UsageMinute

DAYS: Final = (1, 14, 30, 90)  # that one may look back; one day is shown by hour
DEFAULT_DAYS: Final = 14
TOP: Final = 4  # that charts show by name; the others are the rest
LISTED: Final = 50  # lines of a table; the others are added up

REST: Final = "…"  # no model and nobody who asks is called that


class By(StrEnum):
    MODEL = "model"
    KEY = "key"

    @property
    def column(self) -> str:
        return "model_id" if self is By.MODEL else "key"


@dataclass(frozen=True, slots=True)
class Sums:
    """As UsageMinute has them; times are in milliseconds, of all requests added up."""

    requests: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    answered: int = 0
    first_byte_ms: float = 0.0
    total_ms: float = 0.0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def cached_percent(self) -> float | None:
        return 100 * self.cached_tokens / self.prompt_tokens if self.prompt_tokens else None

    @property
    def failed_percent(self) -> float | None:
        return 100 * self.failures / self.requests if self.requests else None

    @property
    def mean_first_byte_ms(self) -> float | None:
        return self.first_byte_ms / self.answered if self.answered else None

    @property
    def mean_total_ms(self) -> float | None:
        return self.total_ms / self.requests if self.requests else None

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens that came out, by all the time that their requests took."""
        return 1000 * self.completion_tokens / self.total_ms if self.total_ms else None


FIELDS: Final = tuple(Sums.__dataclass_fields__)
DRAWN: Final = FIELDS[:5]  # those that charts show: without times


class Stretch(NamedTuple):
    start: datetime
    end: datetime


class Line(NamedTuple):
    """What came to one model, or from one who asks."""

    name: str  # as UsageMinute has it; REST for all that no line of their own
    sums: Sums


@dataclass(frozen=True, slots=True)
class Usage:
    stretches: list[Stretch]  # the oldest first; the last one is not over
    total: Sums
    by_model: list[Line]  # the most requests first
    by_key: list[Line]
    top: list[str]  # of what the stretches are broken down by
    parts: list[dict[str, Sums]]  # of each stretch, by name: those of `top`, and REST

    def named(self) -> dict[str, str]:
        """Return the names of those API keys that have lines, by prefix."""
        prefixes = [line.name for line in self.by_key]
        rows = ApiKey.objects.order_by().filter(prefix__in=prefixes)
        return dict(rows.values_list("prefix", "name"))


def stretches_of(days: int) -> list[Stretch]:
    """Return the last 24 hours, or so many days of MAGI_TIME_ZONE: the oldest first."""
    now = timezone.localtime()
    if days == 1:
        hour = now.replace(minute=0, second=0, microsecond=0).astimezone(UTC)
        starts = [hour + timedelta(hours=n) for n in range(-23, 2)]
    else:
        dates = [now.date() + timedelta(days=n) for n in range(1 - days, 2)]
        starts = [datetime.combine(date, time.min, now.tzinfo) for date in dates]
    return [Stretch(start, end) for start, end in pairwise(starts)]


def usage_of(days: int, by: By) -> Usage:
    """Add up the last days, in two queries however much there is."""
    stretches = stretches_of(days)
    pairs = _summed(_within(stretches).values_list("model_id", "key"))
    by_model, by_key = _lines(pairs, 0), _lines(pairs, 1)
    top = [line.name for line in (by_model if by is By.MODEL else by_key)[:TOP]]
    return Usage(
        stretches,
        total=sum((sums for _, sums in pairs), Sums()),
        by_model=_cut(by_model),
        by_key=_cut(by_key),
        top=top,
        parts=_parts(stretches, by, top),
    )


def rows_of(days: int, by: By) -> Iterator[tuple[Stretch, str, Sums]]:
    """Yield what each model, or each who asks, came to in each stretch, the oldest first."""
    stretches = stretches_of(days)
    rows = (
        _within(stretches)
        .annotate(place=_place([stretch.start for stretch in stretches]))
        .values_list("place", by.column)
        .annotate(*map(Sum, FIELDS))
        .order_by("place", by.column)
    )
    for place, name, *sums in rows.iterator():
        yield stretches[place], name, Sums(*sums)


def _within(stretches: Sequence[Stretch]) -> QuerySet[UsageMinute]:
    span = {"minute__gte": stretches[0].start, "minute__lt": stretches[-1].end}
    return UsageMinute.objects.filter(**span).order_by()


def _summed(
    rows: QuerySet[UsageMinute, Any], fields: Sequence[str] = FIELDS
) -> list[tuple[tuple[Any, ...], Sums]]:
    width = len(fields)
    summed = rows.annotate(*map(Sum, fields))
    return [(row[:-width], Sums(*row[-width:])) for row in summed]


def _parts(stretches: Sequence[Stretch], by: By, top: list[str]) -> list[dict[str, Sums]]:
    named = Case(
        When(**{f"{by.column}__in": top, "then": F(by.column)}),
        default=Value(REST),
        output_field=CharField(),
    )
    rows = (
        _within(stretches)
        .annotate(place=_place([stretch.start for stretch in stretches]), part=named)
        .values_list("place", "part")
    )
    parts: list[dict[str, Sums]] = [{} for _ in stretches]
    for (place, name), sums in _summed(rows, DRAWN):
        parts[place][name] = sums
    return parts


def _place(starts: Sequence[datetime], first: int = 0) -> Expression:
    """Return the number of the stretch that a minute is in, by halves.

    SQLite would cut each minute to its day in Python: a second for 100,000 of them.
    """
    if len(starts) == 1:
        return Value(first, output_field=IntegerField())
    middle = len(starts) // 2
    return Case(
        When(minute__lt=starts[middle], then=_place(starts[:middle], first)),
        default=_place(starts[middle:], first + middle),
        output_field=IntegerField(),
    )


def _lines(pairs: Iterable[tuple[tuple[Any, ...], Sums]], index: int) -> list[Line]:
    sums: dict[str, Sums] = defaultdict(Sums)
    for names, each in pairs:
        sums[names[index]] += each
    lines = [Line(name, each) for name, each in sums.items()]
    return sorted(lines, key=lambda line: (-line.sums.requests, line.name))


def _cut(lines: list[Line]) -> list[Line]:
    if len(lines) <= LISTED:
        return lines
    rest = sum((line.sums for line in lines[LISTED:]), Sums())
    return [*lines[:LISTED], Line(REST, rest)]
