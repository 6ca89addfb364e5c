"""The strategies: which of a model's servers takes the next request."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from servers_app.gateway.routes import Replica

ROUND_ROBIN: Final = "round_robin"
LEAST_LOADED: Final = "least_loaded"
RANDOM: Final = "random"
FIRST: Final = "first"  # for who wants no balancing

SLOW_START_S: Final = 10.0
MIN_WEIGHT: Final = 0.1  # of a server that has just come
_MAX_TURNS: Final = 1024  # a model


def weight(replica: Replica, now: float) -> float:
    """Return a server's share: 1, or less for one that has been ready for some seconds only.

    Its caches are cold, and its model may not be all in memory.

    Args:
        now: unix seconds.
    """
    if replica.ready_at is None:
        return 1.0
    age_s = now - replica.ready_at
    return 1.0 if age_s >= SLOW_START_S else max(age_s / SLOW_START_S, MIN_WEIGHT)


def has_slot(replica: Replica, in_flight: Mapping[int, int]) -> bool:
    """Whether a server can begin with a request at once; yes, where nobody knows its slots."""
    return not replica.slots or in_flight.get(replica.server_id, 0) < replica.slots


def load(replica: Replica, in_flight: Mapping[int, int]) -> float:
    """Return how full a server would be with one request more: 1.0 is every slot."""
    return (in_flight.get(replica.server_id, 0) + 1) / (replica.slots or 1)


@dataclass(slots=True)
class _Turns:
    """Where the servers of a model stand: as many turns on, each by its weight."""

    now: float = 0.0  # of the last turn
    at: dict[int, float] = field(default_factory=dict)  # by server id


class Strategies:
    """The choice among ready servers of one model, and whose turn it is."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._turns: dict[str, _Turns] = {}  # by model id

    def pick(
        self,
        strategy: str,
        model_id: str,
        replicas: Sequence[Replica],
        in_flight: Mapping[int, int],
        now: float,
    ) -> Replica:
        """Return one of `replicas`, of which there is at least one.

        Args:
            now: unix seconds.
        """
        if len(replicas) == 1 or strategy == FIRST:
            return replicas[0]
        weights = [weight(replica, now) for replica in replicas]
        if strategy == RANDOM:
            return self._rng.choices(replicas, weights)[0]
        if strategy == LEAST_LOADED:
            loads = [
                load(replica, in_flight) / share
                for replica, share in zip(replicas, weights, strict=True)
            ]
            least = min(loads)
            tied = [number for number, value in enumerate(loads) if value == least]
            replicas = [replicas[number] for number in tied]
            weights = [weights[number] for number in tied]
        return self._next(model_id, replicas, weights)

    def _next(
        self, model_id: str, replicas: Sequence[Replica], weights: Sequence[float]
    ) -> Replica:
        """Return the one whose turn it is.

        Each server stands at a time of its own, which a turn moves on by 1 / weight. The one
        that is behind is next. One that comes, or comes back, begins where the others are.
        """
        turns = self._turns.setdefault(model_id, _Turns())
        own = [turns.at.get(one.server_id, 0.0) for one in replicas]
        stands = [(max(at, turns.now), at) for at in own]
        number = stands.index(min(stands))  # of those that are level, the one longest without
        chosen = replicas[number]
        turns.now = stands[number][0]
        if len(turns.at) > _MAX_TURNS:  # of servers that have long been deleted
            turns.at.clear()
        turns.at[chosen.server_id] = turns.now + 1 / weights[number]
        return chosen
