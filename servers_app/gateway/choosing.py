"""Which server takes a request: by the profile's strategy, load, health and caches."""

import math
import random
import time
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Final, NamedTuple

from servers_app.gateway.affinity import Affinity, is_overloaded
from servers_app.gateway.balancing import LEAST_LOADED, ROUND_ROBIN, Strategies, has_slot
from servers_app.gateway.breaker import Breakers
from servers_app.gateway.errors import (
    CircuitOpenError,
    ModelLoadingError,
    ModelNotReadyError,
    NoRouteError,
    UnreachableError,
)
from servers_app.gateway.hosts import Hosts
from servers_app.gateway.http1 import origin_of
from servers_app.gateway.routes import (
    FAILED,
    READY,
    STARTING,
    STOPPED,
    STOPPING,
    UNREACHABLE,
    Choice,
    Replica,
    Route,
    RoutingTable,
    TierRoutes,
    Why,
    strength,
)
from servers_app.gateway.wishes import Wish

LOAD_SECONDS: Final = 30.0  # of a model that nobody has seen loading
# What is worth waiting for, soonest first. To one that failed a demand may give another try.
_AWAITED: Final = (STARTING, STOPPING, STOPPED, FAILED)
_WITH_AFFINITY: Final = frozenset({ROUND_ROBIN, LEAST_LOADED})


class _Group(NamedTuple):
    """The models of a tier, and those of their servers that take requests."""

    tier: str | None
    routes: tuple[Route, ...]
    ready: tuple[tuple[Route, Replica], ...]


class _Decision(NamedTuple):
    """The tier that a request goes to, and why."""

    group: _Group
    wanted: str | None
    why: Why


class Balancer:
    """The choice of a server, and what of it outlives a routing table.

    Of the models that may answer, the first in the profile's order takes the request, or
    the next one where that is not ready or has no free slot. Among its servers the
    profile's strategy decides; before it, with `round_robin` and `least_loaded`, a
    conversation goes back to the server that it was last with, unless that one is
    overloaded. The strategy so decides where conversations begin.

    Servers on hosts that fell off the network just now come after all others, and those that
    the table has as unreachable last, where there is no other to wait for.

    Attributes:
        breakers, hosts: what is known of those that failed.
    """

    def __init__(
        self,
        breakers: Breakers | None = None,
        *,
        queued: Callable[[str], int] | None = None,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take what the choice goes by.

        Args:
            breakers: of the servers; own ones by default.
            queued: tells how many requests wait for a model, by its id.
            rng: of the strategy `random`.
            clock: unix seconds, as the table's times are.
        """
        self.breakers = breakers or Breakers()
        self._queued = queued or _none_waits
        self._clock = clock
        self.hosts = Hosts(on_back=self._host_is_back)
        self._cut_off: dict[str, set[int]] = {}  # server ids, by host
        self._strategies = Strategies(rng or random.Random())  # noqa: S311  # nosec B311
        self._affinity = Affinity()

    def choose(
        self,
        table: RoutingTable,
        wish: Wish,
        in_flight: Mapping[int, int],
        *,
        exclude: Container[int] = (),
    ) -> Choice:
        """Return the ready server that had best take the request now.

        It may be a busy one, where none has a free slot: `Choice.has_slot` tells.
        For `auto`, a model of the right tier that is worth waiting for makes this raise
        ModelLoadingError or ModelNotReadyError, although another tier is ready.
        Who takes the server then tells its breaker so: see `Breakers.take`.

        Args:
            in_flight: the requests running now, by server id, over all gateway processes.
            exclude: server ids that were tried already.

        Raises:
            ModelNotFoundError: no enabled model has that name.
            ModelLoadingError: none is ready, but one is starting.
            ModelNotReadyError: none is ready and none is starting.
            CircuitOpenError: those that are ready failed too often just now.
            UnreachableError: those that are left are on nodes that are not there.
        """
        decision = self._decide(table, wish, in_flight, exclude)
        ready = decision.group.ready or self._last_resort(decision.group, exclude)
        if not ready:
            raise self._no_route(decision.group, exclude)
        route, replica = self._returning(table, wish, ready, in_flight) or self._pick(
            table, ready, in_flight
        )
        is_free = has_slot(replica, in_flight)
        if is_free and wish.prefix is not None:  # without, it is asked for again
            self._affinity.note(wish.prefix.key, route.model_id, replica.server_id)
        return _choice(decision, route, replica, is_free=is_free)

    def awaited(
        self, table: RoutingTable, wish: Wish, in_flight: Mapping[int, int] | None = None
    ) -> Choice | None:
        """Return the server that a request had best wait for, or have started.

        Call it where `choose` raised, with what that got. None: nothing is worth it, as
        all are stopped by somebody, or not well.

        Raises:
            ModelNotFoundError: no enabled model has that name.
        """
        decision = self._decide(table, wish, in_flight or {}, ())
        others = (
            route
            for group in table.groups_for(wish)
            if group.tier != decision.group.tier
            for route in group.routes
        )
        for routes in (decision.group.routes, tuple(others)):
            coming = [
                (route, one) for route in routes for one in route.replicas if one.may_come
            ]
            if coming:
                route, replica = min(coming, key=lambda pair: _patience(pair[1]))
                return _choice(decision, route, replica, is_free=False)
        return None

    def won(self, server_id: int) -> None:
        """Note that a server answered: the first byte of anything but a 5xx came."""
        self.breakers.won(server_id)
        if self._cut_off:
            for host in [host for host, ids in self._cut_off.items() if server_id in ids]:
                self.hosts.is_back(host)

    def failed(self, server_id: int) -> None:
        """Note that a server was not reached, broke off, timed out, or answered 5xx."""
        self.breakers.failed(server_id)

    def cut_off(self, replica: Replica) -> None:
        """Note that a server's host is not there any more, or not yet."""
        self.breakers.cut_off(replica.server_id)
        self.hosts.fell_off(replica.base_url)
        host = origin_of(replica.base_url).host
        self._cut_off.setdefault(host, set()).add(replica.server_id)

    def _host_is_back(self, host: str) -> None:
        self.breakers.back(self._cut_off.pop(host, ()))

    def _decide(
        self,
        table: RoutingTable,
        wish: Wish,
        in_flight: Mapping[int, int],
        exclude: Container[int],
    ) -> _Decision:
        """Return the tier that the request goes to.

        `auto` waits for the right one as long as the profile has it worth the while, and
        otherwise goes to a warm one: the one with the least to wait for, and the
        stronger of two.
        """
        groups = table.groups_for(wish)
        best = self._group(groups[0], exclude)
        wanted = table.wanted_tier(wish)
        why = Why.ASKED if wanted is None or best.tier == wanted else Why.NO_MODEL
        asked = _Decision(best, wanted, why)
        if len(groups) == 1:
            return asked
        wait_s = self._wait_s(table, best, in_flight)
        limit_s = table.cold_wait_seconds
        if wait_s < math.inf and (limit_s is None or wait_s <= limit_s):
            return asked
        others = [self._group(group, exclude) for group in groups[1:]]
        waits = [(self._wait_s(table, group, in_flight), group) for group in others]
        warm = [(wait, group) for wait, group in waits if group.ready and wait < wait_s]
        cold = [(wait, group) for wait, group in waits if wait < wait_s == math.inf]
        if not (warm or cold):
            return asked
        _, group = min(warm or cold, key=lambda pair: (pair[0], -strength(pair[1].tier)))
        if why is Why.ASKED:
            why = _why_not(best, wait_s)
        return _Decision(group, wanted, why)

    def _group(self, group: TierRoutes, exclude: Container[int]) -> _Group:
        ready = tuple(
            (route, replica)
            for route in group.routes
            for replica in route.replicas
            if replica.state == READY
            and replica.server_id not in exclude
            and self.breakers.lets(replica)
        )
        return _Group(group.tier, group.routes, self._nearby(ready))

    def _nearby(
        self, pairs: tuple[tuple[Route, Replica], ...]
    ) -> tuple[tuple[Route, Replica], ...]:
        """Return those on hosts that are there; all, if none is."""
        if not self.hosts.knows_some:
            return pairs
        return tuple(p for p in pairs if not self.hosts.is_away(p[1].base_url)) or pairs

    def _last_resort(
        self, group: _Group, exclude: Container[int]
    ) -> tuple[tuple[Route, Replica], ...]:
        """Return the servers that may run on nodes that are silent, if that is all there is.

        A node is silent, too, whose worker has ended and whose servers are well.
        """
        replicas = [one for route in group.routes for one in route.replicas]
        if any(
            (one.state == READY and one.server_id not in exclude)
            or (one.may_come and not one.is_away)
            for one in replicas
        ):
            return ()
        return self._nearby(
            tuple(
                (route, replica)
                for route in group.routes
                for replica in route.replicas
                if replica.state == UNREACHABLE
                and replica.server_id not in exclude
                and self.breakers.lets(replica)
            )
        )

    def _wait_s(
        self, table: RoutingTable, group: _Group, in_flight: Mapping[int, int]
    ) -> float:
        """Return the seconds until one of the models could begin; inf for never."""
        if group.ready:
            return self._busy_s(table, group, in_flight)
        now = self._clock()
        return min(
            (
                _load_s(route, replica, now)
                for route in group.routes
                for replica in route.replicas
                if replica.may_come and not replica.is_away and replica.state != FAILED
            ),
            default=math.inf,
        )

    def _busy_s(
        self, table: RoutingTable, group: _Group, in_flight: Mapping[int, int]
    ) -> float:
        """Return how long those before this request are expected to take."""
        free = slots = behind = 0
        for _, replica in group.ready:
            if not replica.slots:
                return 0.0
            left = replica.slots - in_flight.get(replica.server_id, 0)
            slots += replica.slots
            free += max(left, 0)
            behind += max(-left, 0)
        model_ids = {route.model_id for route, _ in group.ready}
        queued = sum(map(self._queued, model_ids))
        before = queued + 1 - free if free else queued + 1 + behind
        return max(before, 0) / slots * table.expected_seconds(group.tier)

    def _returning(
        self,
        table: RoutingTable,
        wish: Wish,
        ready: Sequence[tuple[Route, Replica]],
        in_flight: Mapping[int, int],
    ) -> tuple[Route, Replica] | None:
        """Return the server that has a conversation's cache, if it can well take it."""
        prefix = wish.prefix
        if prefix is None or prefix.is_new or len(ready) == 1:
            return None
        if table.strategy not in _WITH_AFFINITY:
            return None
        for route, replica in ready:
            if self._affinity.server_of(prefix.key, route.model_id) == replica.server_id:
                others = [one for _, one in ready]
                return None if is_overloaded(replica, others, in_flight) else (route, replica)
        return None

    def _pick(
        self,
        table: RoutingTable,
        ready: Sequence[tuple[Route, Replica]],
        in_flight: Mapping[int, int],
    ) -> tuple[Route, Replica]:
        if len(ready) == 1:
            return ready[0]
        free = [pair for pair in ready if has_slot(pair[1], in_flight)] or ready
        route = free[0][0]
        replicas = [replica for other, replica in free if other is route]
        return route, self._strategies.pick(
            table.strategy, route.model_id, replicas, in_flight, self._clock()
        )

    def _no_route(self, group: _Group, exclude: Container[int]) -> NoRouteError:
        """Say why none of the models takes the request."""
        for route in group.routes:
            if any(one.state == STARTING and not one.is_away for one in route.replicas):
                return ModelLoadingError(route.model_id)
        open_s = [
            (self.breakers.wait_s(replica), route.model_id)
            for route in group.routes
            for replica in route.replicas
            if replica.state == READY and replica.server_id not in exclude
        ]
        away = [
            (route.model_id, replica)
            for route in group.routes
            for replica in route.replicas
            if self._is_out_of_reach(replica)
        ]
        if away and len(open_s) <= sum(replica.state == READY for _, replica in away):
            nodes = dict.fromkeys(one.node for id_, one in away if id_ == away[0][0])
            return UnreachableError(away[0][0], [node for node in nodes if node])
        if open_s:
            wait_s, model_id = min(open_s)
            return CircuitOpenError(model_id, wait_s)
        first = group.routes[0]
        failure = first.failure if first.state == FAILED else ""
        return ModelNotReadyError(first.model_id, first.state, failure=failure)

    def _is_out_of_reach(self, replica: Replica) -> bool:
        """Whether it may well run, and its node is not there."""
        if replica.state == READY:
            return self.breakers.is_cut_off(replica.server_id)
        return replica.state == UNREACHABLE or (replica.state == STARTING and replica.is_away)


def _none_waits(_model_id: str) -> int:
    return 0


def _choice(decision: _Decision, route: Route, replica: Replica, *, is_free: bool) -> Choice:
    return Choice(route, replica, is_free, decision.wanted, decision.why)


def _patience(replica: Replica) -> tuple[bool, int]:
    """Return the place of a server among those that may be waited for, the soonest first."""
    return replica.is_away, _AWAITED.index(replica.state)


def _why_not(group: _Group, wait_s: float) -> Why:
    if wait_s == math.inf:
        return Why.AWAY
    return Why.BUSY if group.ready else Why.COLD


def _load_s(route: Route, replica: Replica, now: float) -> float:
    """Return the seconds until a server has loaded its model, the best that is known."""
    load_s = LOAD_SECONDS if route.load_seconds is None else route.load_seconds
    if replica.state != STARTING or replica.launched_at is None:
        return load_s
    return max(load_s - (now - replica.launched_at), 0.0)
