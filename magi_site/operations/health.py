"""How MAGI is: each part of it, looked at now."""

import logging
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from typing import Final

from django.db import Error as DatabaseError

from magi_site.operations import looks
from magi_site.operations.component import Component, Health
from magi_site.operations.parts import LOOKS

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0  # for all parts that are looked at at once
# What the other parts are told, kept or done by.
ESSENTIAL: Final = ("database", "queue", "nodes")
DATABASE_AWAY: Final = "The database cannot be reached. Start it, or check DATABASE_URL."
UNTOLD: Final = Component(
    Health.UNAVAILABLE, "Nobody can tell: the database, in which it is written, is away."
)


class Checkup:
    """A look at every part; the database comes first, because most others are told by it."""

    def __init__(self) -> None:
        self._begun = _begin(("database", "queue", "disk"))
        self._deadline = time.monotonic() + LOOK_S

    def is_database_away(self) -> bool:
        """Whether the database does not answer, or not in LOOK_S."""
        (database,) = _components({"database": self._begun["database"]}, self._left_s).values()
        return database.status == Health.UNAVAILABLE

    def parts(self) -> dict[str, Component]:
        """Return how every part is, within LOOK_S; twice that where the database is slow."""
        others = [name for name in LOOKS if name not in self._begun]
        if self.is_database_away():
            known = _components(self._begun, self._left_s) | dict.fromkeys(others, UNTOLD)
        else:
            known = _components(self._begun | _begin(others), LOOK_S)
        return {name: known[name] for name in LOOKS}

    @property
    def _left_s(self) -> float:
        return max(0.0, self._deadline - time.monotonic())


def health_of(parts: Mapping[str, Component]) -> Health:
    """Return how MAGI is. Without an essential part it can do nothing that it is asked for."""
    if any(parts[name].status == Health.UNAVAILABLE for name in ESSENTIAL):
        return Health.UNAVAILABLE
    is_healthy = all(part.status == Health.HEALTHY for part in parts.values())
    return Health.HEALTHY if is_healthy else Health.DEGRADED


def troubles(parts: Mapping[str, Component]) -> str:
    """Return what those say that are not healthy, but for those of which nobody can tell."""
    return " ".join(
        f"{name}: {part.detail}"
        for name, part in parts.items()
        if part.status != Health.HEALTHY and part != UNTOLD
    )


def _begin(names: Collection[str]) -> "dict[str, Future[Component]]":
    return {name: looks.begin(f"health of {name}", LOOKS[name]) for name in names}


def _components(
    begun: "Mapping[str, Future[Component]]", seconds: float
) -> dict[str, Component]:
    results = looks.results(begun, seconds=seconds)
    return {name: _component(name, result) for name, result in results.items()}


def _component(name: str, result: Component | Exception) -> Component:
    if isinstance(result, Component):
        return result
    if isinstance(result, TimeoutError):
        return Component(Health.UNAVAILABLE, f"It did not answer within {LOOK_S:g} s.")
    logger.warning("The health of the %s cannot be told: %r", name, result)
    if isinstance(result, DatabaseError):
        return Component(Health.UNAVAILABLE, DATABASE_AWAY) if name == "database" else UNTOLD
    detail = f"It cannot be looked at ({type(result).__name__}); the web server's log says why."
    return Component(Health.UNAVAILABLE, detail)
