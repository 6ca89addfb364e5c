"""Who is at work in this process, and by which door they came in: for the audit.

The web server says so for each request (magi_site/audit_door.py). Where nobody has said
anything, it is a worker, if a Celery task runs, and else whoever started the command.
"""

import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple

from celery import current_app

from models_app.audit_models import Via

WORKER: Final = "worker"


class Actor(NamedTuple):
    who: str
    via: Via
    request_id: str = ""


# A function, because who calls the API is known only when its key has been looked at.
_acting: ContextVar[Callable[[], Actor] | None] = ContextVar("acting", default=None)


@contextmanager
def acting_as(actor: Callable[[], Actor]) -> Iterator[None]:
    """Have the changes inside be those of `actor()`, which is asked at each change."""
    token = _acting.set(actor)
    try:
        yield
    finally:
        _acting.reset(token)


@contextmanager
def acting(who: str, via: Via) -> Iterator[None]:
    """Have the changes inside be those of `who`."""
    with acting_as(lambda: Actor(who, via)):
        yield


def actor(who: str = "") -> Actor:
    """Return who is at work.

    Args:
        who: as a caller calls itself. It counts where no request says better.
    """
    if (of_request := _acting.get()) is not None:
        known = of_request()
        return known if known.who else known._replace(who=who)
    if current_app.current_task is not None:
        return Actor(who or WORKER, Via.SYSTEM)
    return Actor(who or who_asks(), Via.COMMAND)


def who_asks() -> str:
    """Return who is at the terminal, as far as the system knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "manage.py"
