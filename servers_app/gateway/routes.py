"""Which servers can answer for which model: a snapshot, without the database."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from servers_app.gateway.errors import (
    InvalidRequestError,
    ModelLoadingError,
    ModelNotFoundError,
    ModelNotReadyError,
)

AUTO: Final = "auto"  # the name a client gives to leave the choice to us
AUTO_KINDS: Final = ("text", "vision")

READY: Final = "ready"
STARTING: Final = "starting"
STOPPING: Final = "stopping"
STOPPED: Final = "stopped"
FAILED: Final = "failed"

QUEUE_WAIT_S: Final = 60.0  # where no profile says else
# What is worth waiting for, soonest first. To one that failed a demand may give another try.
_AWAITED: Final = (STARTING, STOPPING, STOPPED, FAILED)


@dataclass(frozen=True, slots=True)
class Replica:
    """One llama-server of a model."""

    server_id: int
    base_url: str  # "http://127.0.0.1:8080", without a slash at its end
    api_key: str
    upstream_model: str  # the alias the server was started with
    state: str
    on_request: bool = False  # a request may start it
    failure: str = ""  # how it failed, in a sentence fit for a stranger

    @property
    def may_come(self) -> bool:
        """Whether it is starting, or a request may have it started."""
        return self.state in (STARTING, FAILED) or (
            self.on_request and self.state in (STOPPING, STOPPED)
        )


@dataclass(frozen=True, slots=True)
class Route:
    """One enabled model and its servers."""

    model_id: str
    display_name: str
    tier: str | None
    kind: str
    context_length: int | None  # tokens
    created: int  # unix seconds
    owned_by: str
    replicas: tuple[Replica, ...]

    @property
    def state(self) -> str:
        """What the best of its replicas is: ready, else starting, else the first one's."""
        states = [replica.state for replica in self.replicas]
        for state in (READY, STARTING):
            if state in states:
                return state
        return states[0] if states else STOPPED

    @property
    def failure(self) -> str:
        return next((replica.failure for replica in self.replicas if replica.failure), "")


class Choice(NamedTuple):
    route: Route
    replica: Replica


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """The models of the active profile, in the profile's order."""

    routes: Mapping[str, Route]
    profile: str | None
    preset: str = ""  # of requests that name none
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    queue_wait_seconds: float = QUEUE_WAIT_S

    def choose(
        self, model: str, in_flight: Mapping[int, int], *, exclude: Container[int] = ()
    ) -> Choice:
        """Pick the ready replica with the fewest requests in flight.

        Args:
            model: a model id, or `auto` for the first model in the profile's order
                that writes text and is ready.
            in_flight: the requests running now, by server id.
            exclude: server ids that were tried already.

        Raises:
            ModelNotFoundError: no enabled model has that name.
            ModelLoadingError: no replica is ready, but one is starting.
            ModelNotReadyError: no replica is ready and none is starting.
        """
        candidates = self._named(model)
        for route in candidates:
            ready = [
                replica
                for replica in route.replicas
                if replica.state == READY and replica.server_id not in exclude
            ]
            if ready:
                return Choice(route, min(ready, key=lambda r: in_flight.get(r.server_id, 0)))
        for route in candidates:
            if any(replica.state == STARTING for replica in route.replicas):
                raise ModelLoadingError(route.model_id)
        first = candidates[0]
        failure = first.failure if first.state == FAILED else ""
        raise ModelNotReadyError(first.model_id, first.state, failure=failure)

    def awaited(self, model: str) -> Choice | None:
        """Return the replica that a request had best wait for, or have started.

        None is worth it when all are stopped by somebody, or not well.

        Raises:
            ModelNotFoundError: no enabled model has that name.
        """
        coming = [
            Choice(route, replica)
            for route in self._named(model)
            for replica in route.replicas
            if replica.may_come
        ]
        return min(coming, key=lambda one: _AWAITED.index(one.replica.state), default=None)

    def defaults(self, preset: str | None) -> Mapping[str, Any]:
        """Return what a sampling preset gives a request, by llama-server's names.

        Args:
            preset: that the request names; None for the profile's.

        Raises:
            InvalidRequestError: there is no preset of that name.
        """
        if preset is None:
            return self.presets.get(self.preset, {})
        if preset not in self.presets:
            there = ", ".join(self.presets) or "none"
            message = f"There is no preset {preset[:64]!r}. Available: {there}."
            raise InvalidRequestError(message, param="preset")
        return self.presets[preset]

    def auto_routes(self) -> list[Route]:
        return [route for route in self.routes.values() if route.kind in AUTO_KINDS]

    def names(self) -> list[str]:
        """Every name that `choose` takes, for a message to a client."""
        return [*([AUTO] if self.auto_routes() else []), *self.routes]

    def _named(self, model: str) -> Sequence[Route]:
        if model == AUTO:
            named = self.auto_routes()
        else:
            named = [self.routes[model]] if model in self.routes else []
        if not named:
            raise ModelNotFoundError(model, self.names())
        return named
