"""When something ends, as people say it: in 30 days, or on a day."""

import re
from datetime import date, datetime, timedelta
from typing import Final

from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

ACCEPTED: Final = (
    "a span such as 90m, 12h, 30d or 8w, a day such as 2030-12-31 (to its end), or a time "
    "such as 2030-12-31T18:00"
)
_SPAN: Final = re.compile(r"(?P<count>[0-9]{1,6})(?P<unit>[mhdw])", re.ASCII)
_UNITS: Final = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


def parse_expiry(text: str) -> datetime:
    """Return the time that `text` says; without an offset it is of MAGI_TIME_ZONE.

    Raises:
        ValueError: it says none, or one that has no place in a calendar.
    """
    said = text.strip()
    try:
        if span := _SPAN.fullmatch(said.lower()):
            return timezone.now() + int(span["count"]) * _UNITS[span["unit"]]
        if day := parse_date(said):
            return _midnight_after(day)
        moment = parse_datetime(said)
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        msg = f"{text!r} says no time. Accepted: {ACCEPTED}."
        raise ValueError(msg)
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


def _midnight_after(day: date) -> datetime:
    after = day + timedelta(days=1)
    return timezone.make_aware(datetime(after.year, after.month, after.day))  # noqa: DTZ001
