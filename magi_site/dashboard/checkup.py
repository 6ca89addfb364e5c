"""The health of each part for a page that does not wait for it.

A part that is away takes a second to be found out. So a look goes on in a thread of its own,
and the page shows the last one that has ended, and when that was.
"""

import time
from collections.abc import Mapping
from concurrent.futures import wait
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.utils import timezone

from magi_site.operations import looks
from magi_site.operations.component import Component, Health
from magi_site.operations.health import Checkup, health_of

KEPT_S: Final = 10.0
WAIT_S: Final = 0.25  # it takes less where nothing is away


@dataclass(frozen=True, slots=True)
class Seen:
    parts: Mapping[str, Component]
    at: datetime

    @property
    def overall(self) -> Health:
        return health_of(self.parts)


class _Process:
    seen: Seen | None = None
    seen_at = float("-inf")  # of the monotonic clock


def health_seen() -> Seen | None:
    """Return how all parts were when last looked at; None if no look has ended so far.

    After KEPT_S it is looked at again, and waited for that for WAIT_S.
    """
    if time.monotonic() - _Process.seen_at > KEPT_S:
        wait([looks.begin("health for the dashboard", _look)], timeout=WAIT_S)
    return _Process.seen


def _look() -> None:
    parts = Checkup().parts()
    _Process.seen, _Process.seen_at = Seen(parts, timezone.now()), time.monotonic()
