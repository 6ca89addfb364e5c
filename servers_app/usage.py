"""What requests came to, by model or by who asked: by hour, by day or by month.

It is read from the sums of minutes and from those of days that minutes were rolled up into.
A day's sum is of a day of UTC, and so are months; within 90 days, minutes are still
there, and days are those of MAGI_TIME_ZONE.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import chain, pairwise
from operator import itemgetter
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
from servers_app.request_models import UsageDay, UsageMinute

DAYS: Final = (1, 14, 30, 90, 365)  # that one may look back
BY_MONTH: Final = 365  # shown by month; one day is shown by hour, what is between by day
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
    """Return the last 24 hours, so many days of MAGI_TIME_ZONE, or the last 12 months of UTC
    and the one that is not over: the oldest first.
    """
    now = timezone.localtime()
    if days == 1:
        hour = now.replace(minute=0, second=0, microsecond=0).astimezone(UTC)
        starts = [hour + timedelta(hours=n) for n in range(-23, 2)]
    elif days == BY_MONTH:
        today = now.astimezone(UTC).date()
        months = [12 * today.year + today.month - 1 + n for n in range(-12, 2)]
        starts = [datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC) for month in months]
    else:
        dates = [now.date() + timedelta(days=n) for n in range(1 - days, 2)]
        starts = [datetime.combine(day, time.min, now.tzinfo) for day in dates]
    return [Stretch(start, end) for start, end in pairwise(starts)]


def usage_of(days: int, by: By) -> Usage:
    """Add up the last days, in four queries however much there is."""
    stretches = stretches_of(days)
    pairs = _merged(
        *(_summed(rows.values_list("model_id", "key")) for rows in _within(stretches))
    )
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


def days_of_model(model_id: str, days: int = DEFAULT_DAYS) -> list[tuple[Stretch, Sums]]:
    """Return what a model came to in each of the last days, the oldest first; two queries."""
    stretches = stretches_of(days)
    found = {
        place: sums
        for (place,), sums in _merged(
            *(
                _summed(rows.filter(model_id=model_id).values_list("place"))
                for rows in _placed(stretches)
            )
        )
    }
    return [(each, found.get(place, Sums())) for place, each in enumerate(stretches)]


def rows_of(days: int, by: By) -> Iterator[tuple[Stretch, str, Sums]]:
    """Yield what each model, or each who asks, came to in each stretch, the oldest first."""
    stretches = stretches_of(days)
    found = _merged(
        *(_summed(rows.values_list("place", by.column)) for rows in _placed(stretches))
    )
    for (place, name), sums in sorted(found, key=itemgetter(0)):
        yield stretches[place], name, sums


def _within(stretches: Sequence[Stretch]) -> tuple[QuerySet[Any, Any], QuerySet[Any, Any]]:
    """Return the minutes of these stretches, and the days that minutes were rolled up into."""
    start, end = stretches[0].start, stretches[-1].end
    first, last = (_first_day(moment) for moment in (start, end))
    return (
        UsageMinute.objects.filter(minute__gte=start, minute__lt=end).order_by(),
        UsageDay.objects.filter(day__gte=first, day__lt=last).order_by(),
    )


def _placed(stretches: Sequence[Stretch]) -> tuple[QuerySet[Any, Any], QuerySet[Any, Any]]:
    """Return the same, each with `place`: the number of the stretch that it is in."""
    minutes, days = _within(stretches)
    starts = [stretch.start for stretch in stretches]
    return (
        minutes.annotate(place=_place("minute", starts)),
        days.annotate(place=_place("day", list(map(_first_day, starts)))),
    )


def _first_day(moment: datetime) -> date:
    """Return the first day of UTC whose middle is not before `moment`: each is told of in the
    stretch that has most of it.
    """
    return (moment.astimezone(UTC) + timedelta(hours=12) - timedelta(microseconds=1)).date()


def _summed(
    rows: QuerySet[Any, Any], fields: Sequence[str] = FIELDS
) -> list[tuple[tuple[Any, ...], Sums]]:
    width = len(fields)
    summed = rows.annotate(*map(Sum, fields))
    return [(row[:-width], Sums(*row[-width:])) for row in summed]


def _merged(
    *summed: Iterable[tuple[tuple[Any, ...], Sums]],
) -> list[tuple[tuple[Any, ...], Sums]]:
    found: dict[tuple[Any, ...], Sums] = defaultdict(Sums)
    for name, sums in chain(*summed):
        found[name] += sums
    return list(found.items())


def _parts(stretches: Sequence[Stretch], by: By, top: list[str]) -> list[dict[str, Sums]]:
    named = Case(
        When(**{f"{by.column}__in": top, "then": F(by.column)}),
        default=Value(REST),
        output_field=CharField(),
    )
    parts: list[dict[str, Sums]] = [{} for _ in stretches]
    for (place, name), sums in _merged(
        *(
            _summed(rows.annotate(part=named).values_list("place", "part"), DRAWN)
            for rows in _placed(stretches)
        )
    ):
        parts[place][name] = sums
    return parts


def _place(field: str, starts: Sequence[Any], first: int = 0) -> Expression:
    """Return the number of the stretch that a minute or a day is in, by halves.

    SQLite would cut each minute to its day in Python: a second for 100,000 of them.
    """
    if len(starts) == 1:
        return Value(first, output_field=IntegerField())
    middle = len(starts) // 2
    return Case(
        When(
            **{f"{field}__lt": starts[middle]},
            then=_place(field, starts[:middle], first),
        ),
        default=_place(field, starts[middle:], first + middle),
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
