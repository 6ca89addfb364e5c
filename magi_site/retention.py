"""Everything that would grow, and what keeps it from that; docs/retention.md is the same."""

from datetime import datetime, timedelta
from typing import Any, Final

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import QuerySet

from models_app import old_rows as registry_rows
from models_app.retention import Bound, delete
from servers_app import old_folders
from servers_app import old_rows as server_rows

MINUTE: Final = timedelta(minutes=1)


def bounds_of_database() -> tuple[Bound, ...]:
    """Return what any node may prune, for all of them."""
    return (
        *server_rows.bounds(),
        *registry_rows.bounds(),
        Bound(
            "sessions",
            lambda: "until they expire",
            lambda now: _expired_sessions(now).count(),
            lambda now: delete(_expired_sessions(now)),
        ),
        Bound(
            "failed sign-ins",
            lambda: f"{_cooloff() // MINUTE} minutes after the last of an account and address",
            lambda now: _old_attempts(now).count(),
            lambda now: delete(_old_attempts(now)),
        ),
    )


def bounds_of_node(node: str) -> tuple[Bound, ...]:
    """Return what this node, `node`, alone can prune: it is on its disks."""
    return old_folders.bounds(node)


def _expired_sessions(now: datetime) -> QuerySet[Session]:
    return Session.objects.filter(expire_date__lt=now).order_by("expire_date")


def _old_attempts(now: datetime) -> QuerySet[Any]:
    """Return those that keep nobody out any more."""
    attempts: QuerySet[Any] = AccessAttempt.objects.order_by("pk")
    return attempts.filter(attempt_time__lt=now - _cooloff())


def _cooloff() -> timedelta:
    cooloff: timedelta = settings.AXES_COOLOFF_TIME
    return cooloff
