"""What the gateway of this process has in hand at this moment, by model."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from servers_app.gateway.breaker import BreakerState, State
from servers_app.gateway.routes import RoutingTable

BREAKER_STATES: Final = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


class Gauges(NamedTuple):
    """In flight and waiting: requests by model id. Breakers: by model id and server id."""

    in_flight: Mapping[str, int] = {}
    queued: Mapping[str, int] = {}  # for a slot
    loading: Mapping[str, int] = {}  # for a server to be ready
    breakers: Mapping[tuple[str, int], int] = {}  # as BREAKER_STATES has them

    def as_json(self) -> dict[str, Any]:
        return {
            "in_flight": self.in_flight,
            "queued": self.queued,
            "loading": self.loading,
            "breakers": [[*key, state] for key, state in self.breakers.items()],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Gauges":
        return cls(
            value["in_flight"],
            value["queued"],
            value["loading"],
            {(model, int(server)): state for model, server, state in value["breakers"]},
        )


def gauges_of(
    table: RoutingTable | None,
    *,
    in_flight: Mapping[int, int],
    waited_for: Mapping[int, int],
    queued: Mapping[str, int],
    breakers: Mapping[int, BreakerState],
) -> Gauges:
    """Return what there is, by the models of `table`; servers that it has not are left out.

    Args:
        in_flight: requests by server id.
        waited_for: requests that wait for a server to load, by its id.
        queued: requests that wait for a slot, by model id.
    """
    routes = {} if table is None else table.routes
    working, loading = dict.fromkeys(routes, 0), dict.fromkeys(routes, 0)
    states: dict[tuple[str, int], int] = {}
    for model_id, route in routes.items():
        for replica in route.replicas:
            server_id = replica.server_id
            working[model_id] += in_flight.get(server_id, 0)
            loading[model_id] += waited_for.get(server_id, 0)
            breaker = breakers.get(server_id)
            state = State.CLOSED if breaker is None else breaker.state
            states[model_id, server_id] = BREAKER_STATES[state]
    waiting = {model_id: queued.get(model_id, 0) for model_id in routes}
    return Gauges(working, waiting, loading, states)
