"""Which servers can answer for which model: a snapshot, without the database."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, NamedTuple

from servers_app.gateway.access import Key
from servers_app.gateway.errors import InvalidRequestError, ModelNotFoundError, NoRouteError
from servers_app.gateway.selection import CURRENT, TASK, none_current, none_suits, unknown_task
from servers_app.gateway.wishes import Wish

AUTO: Final = "auto"  # the name a client gives to leave the choice to us
TWO_STAGE: Final = "two-stage"  # a draft by one tier, the answer by another
TIERS: Final = ("fast", "balanced", "powerful")  # the strongest last
AUTO_KINDS: Final = ("text", "vision")

READY: Final = "ready"
STARTING: Final = "starting"
STOPPING: Final = "stopping"
STOPPED: Final = "stopped"
FAILED: Final = "failed"
UNREACHABLE: Final = "unreachable"  # it may run, on a node of which nothing is heard

QUEUE_WAIT_S: Final = 60.0  # where no profile says else


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
    slots: int = 0  # requests that it works on at once; 0 where nobody has asked it
    ready_at: float | None = None  # unix seconds
    launched_at: float | None = None  # unix seconds; None where it is not starting
    progress: float | None = None  # of its loading, 0 to 1
    node: str = ""
    is_away: bool = False  # its node is: nothing has been heard of it for a while

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
    aliases: tuple[str, ...] = ()  # other names that clients may give
    is_thinking: bool = False
    load_seconds: float | None = None  # that it is expected to take; None where nobody knows

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


class Why(StrEnum):
    """Why a request goes to the tier that it goes to."""

    ASKED = "asked"  # the client named it or its model, or its complexity came to it
    NO_MODEL = "no_model"
    AWAY = "away"
    COLD = "cold"
    BUSY = "busy"


_REASONS: Final = {
    Why.NO_MODEL: "The profile has no model of the tier {tier}.",
    Why.AWAY: "No model of the tier {tier} is ready or starting.",
    Why.COLD: "A model of the tier {tier} would take too long to load.",
    Why.BUSY: "The models of the tier {tier} have too many requests before this one.",
}


class Choice(NamedTuple):
    """A server for a request, and how it came to be that one."""

    route: Route
    replica: Replica
    has_slot: bool = True  # whether it can begin at once, as far as anybody knows
    wanted_tier: str | None = None  # None where the client named a model
    why: Why = Why.ASKED

    @property
    def reason(self) -> str:
        """Why it is of another tier than `wanted_tier`, in a sentence; empty if it is not."""
        return _REASONS.get(self.why, "").format(tier=self.wanted_tier)


@dataclass(frozen=True, slots=True)
class TierRule:
    """Up to which complexity a tier answers, and how long its answers are expected to take."""

    name: str
    max_score: float | None  # None: no limit
    expected_seconds: float


@dataclass(frozen=True, slots=True)
class TwoStage:
    stage1_tier: str
    stage2_tier: str
    stage1_max_tokens: int


DEFAULT_RULES: Final = (
    TierRule("fast", max_score=3.0, expected_seconds=2.0),
    TierRule("balanced", max_score=7.0, expected_seconds=5.0),
    TierRule("powerful", max_score=None, expected_seconds=15.0),
)


def tier_for(score: float, rules: Sequence[TierRule]) -> str:
    """Return the tier for a complexity: the first whose limit it keeps, or the last."""
    rules = rules or DEFAULT_RULES
    for rule in rules:
        if rule.max_score is None or score <= rule.max_score:
            return rule.name
    return rules[-1].name


@dataclass(frozen=True, slots=True)
class TierRoutes:
    """The models of one tier that write text, in the profile's order."""

    tier: str | None  # None: of models that are of no tier
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """The models of the active profile, in the profile's order."""

    routes: Mapping[str, Route]
    profile: str | None
    preset: str = ""  # of requests that name none
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    hidden_thinking: frozenset[str] = frozenset()  # presets whose answers come without it
    tiers: tuple[TierRule, ...] = ()  # in the profile's order
    two_stage: TwoStage | None = None  # None: the profile has it off
    strategy: str = "round_robin"  # round_robin, least_loaded, random or first
    queue_limit: int = 64  # requests that wait for one model
    queue_wait_seconds: float = QUEUE_WAIT_S
    # `auto` waits so long for a model of the right tier before a warm one of another answers;
    # None: as long as it takes.
    cold_wait_seconds: float | None = None
    classifier: str = "auto"  # auto, heuristic, embedding or decision
    classifier_model: str = ""  # the model id that serves an embedding or a decision
    # The API keys that are not revoked, by the SHA-256 of their secrets.
    keys: Mapping[str, Key] = field(default_factory=dict, repr=False)
    is_restricted: bool = False  # to the models of an API key
    # How well models suit each kind of task, 0 to 10, by model id; without those that cannot.
    task_scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict, repr=False)
    current_model: str = ""  # the id of the one that somebody switched to
    _by_alias: dict[str, Route] = field(init=False, repr=False, compare=False)
    _by_tier: dict[str | None, TierRoutes] = field(init=False, repr=False, compare=False)
    _by_word: dict[str, TierRoutes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_alias: dict[str, Route] = {}
        for route in self.routes.values():
            for alias in route.aliases:
                by_alias.setdefault(alias, route)
        by_tier: dict[str | None, list[Route]] = {}
        for route in self.auto_routes():
            by_tier.setdefault(route.tier, []).append(route)
        grouped = {tier: TierRoutes(tier, tuple(routes)) for tier, routes in by_tier.items()}
        object.__setattr__(self, "_by_alias", by_alias)
        object.__setattr__(self, "_by_tier", grouped)
        object.__setattr__(self, "_by_word", dict(self._words()))

    def only(self, model_ids: Collection[str]) -> "RoutingTable":
        """Return the table as it is for who may use those models and no others."""
        routes = {id_: route for id_, route in self.routes.items() if id_ in model_ids}
        return replace(self, routes=routes, is_restricted=True)

    def routes_for(self, wish: Wish) -> Sequence[Route]:
        """Return the models that may answer a request, the best first.

        Raises:
            ModelNotFoundError: no enabled model goes by that name.
        """
        return [route for group in self.groups_for(wish) for route in group.routes]

    def groups_for(self, wish: Wish) -> Sequence[TierRoutes]:
        """Return the models that may answer a request, by tier, the best tier first.

        A model id goes before an alias, and an alias before a word of ours. A tier without
        models is the nearest one that has some, and the stronger of two that are as near.
        `auto` comes with the other tiers behind its own; without a tier, all models are one
        group, in the profile's order. `two-stage`, where it gets this far, is the tier of
        its second stage. A task is the models that suit it best, `current` is one model.

        Raises:
            ModelNotFoundError: no enabled model goes by that name.
            NothingChosenError: none is what a task or `current` asks for.
        """
        named = self.model_named(wish.name)
        if named is not None:
            return (TierRoutes(named.tier, (named,)),)
        if (chosen := self._by_word.get(wish.name)) is not None:
            return (chosen,)
        tier = self.wanted_tier(wish)
        if wish.name != AUTO:
            groups = self._nearest(tier)[:1] if tier is not None else ()
        elif tier is None:
            routes = tuple(self.auto_routes())
            groups = (TierRoutes(None, routes),) if routes else ()
        else:
            groups = self._nearest(tier)
        if not groups:
            raise self.no_model(wish.name)
        return groups

    def chosen(self, name: str) -> Route | None:
        """Return the model that a task or `current` stands for, the first of several."""
        group = self._by_word.get(name)
        return None if group is None else group.routes[0]

    def wanted_tier(self, wish: Wish) -> str | None:
        """Return the tier that a request asks for, whether there are models of it or not.

        None: it names a model, or nothing that is known, or any model will do.
        """
        if self.model_named(wish.name) is not None:
            return None
        if wish.name == AUTO:
            return wish.tier
        if wish.name == TWO_STAGE and self.two_stage is not None:
            return self.two_stage.stage2_tier
        return wish.name if wish.name in TIERS else None

    def tier_for(self, score: float) -> str:
        """Return the tier for a complexity: the first whose limit it keeps, or the last."""
        return tier_for(score, self.tiers)

    def expected_seconds(self, tier: str | None) -> float:
        """Return how long an answer of that tier is expected to take."""
        for rules in (self.tiers, DEFAULT_RULES):
            for rule in rules:
                if rule.name == tier:
                    return rule.expected_seconds
        return DEFAULT_RULES[1].expected_seconds

    def model_named(self, name: str) -> Route | None:
        return self.routes.get(name) or self._by_alias.get(name)

    def is_model(self, name: str) -> bool:
        """Whether a name is that of a model, rather than a word of ours or nobody's."""
        return self.model_named(name) is not None

    def no_model(self, name: str) -> NoRouteError:
        """Return the error for a name that no model goes by."""
        if name == CURRENT:
            return none_current(self.current_model, self.names(), restricted=self.is_restricted)
        if name.startswith(TASK) and self.task_scores:
            task = name.removeprefix(TASK)
            if task not in self.task_scores:
                return unknown_task(task, self.task_scores)
            kinds = [route.kind for route in self.routes.values()]
            return none_suits(task, kinds, restricted=self.is_restricted)
        return ModelNotFoundError(name, self.names(), is_restricted=self.is_restricted)

    def is_single(self, name: str) -> bool:
        """Whether a name is that of a model with one server: nothing is left to choose."""
        route = self.model_named(name)
        return route is not None and len(route.replicas) < 2

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
        """Every name that a request may give, for a message to a client."""
        tiers = [tier for tier in TIERS if tier in self._by_tier]
        aliases = [alias for alias in self._by_alias if alias not in self.routes]
        auto = [AUTO] if self._by_tier else []
        two_stage = [TWO_STAGE] if self.two_stage is not None and self._by_tier else []
        return [*auto, *tiers, *two_stage, *self.routes, *aliases, *self._by_word]

    def _words(self) -> Iterator[tuple[str, TierRoutes]]:
        """Yield `current` and the tasks, each with the models that it stands for."""
        if (current := self.routes.get(self.current_model)) is not None:
            yield CURRENT, TierRoutes(current.tier, (current,))
        for task, scores in self.task_scores.items():
            if best := _best(scores, self.routes):
                yield f"{TASK}{task}", TierRoutes(best[0].tier, best)

    def _nearest(self, tier: str) -> Sequence[TierRoutes]:
        """Return the tiers that have models: `tier`, then by how near they are to it."""
        ranked = sorted(self._by_tier, key=lambda other: _distance(tier, other))
        return [self._by_tier[other] for other in ranked]


def _best(scores: Mapping[str, float], routes: Mapping[str, Route]) -> tuple[Route, ...]:
    """Return the models that suit a task best: of those that can answer, the highest score.

    Several are as good, and which of them is ready takes the request. One that has failed
    comes after one that has not, and last what no request starts.
    """
    ranked = [
        ((-_likelihood(routes[id_]), -score), routes[id_])
        for id_, score in scores.items()
        if id_ in routes
    ]
    best = min((rank for rank, _ in ranked), default=None)
    return tuple(route for rank, route in ranked if rank == best)


def _likelihood(route: Route) -> int:
    """Return 2 for a model that answers, or loads and then answers; 1 if it has failed."""
    likely = [one.state for one in route.replicas if one.state == READY or one.may_come]
    if set(likely) - {FAILED}:
        return 2
    return int(bool(likely))


def strength(tier: str | None) -> int:
    """Return a tier's place in the order of strength; no tier is the weakest."""
    return TIERS.index(tier) if tier in TIERS else -1


def _distance(tier: str, other: str | None) -> tuple[bool, int, int]:
    steps = strength(other) - strength(tier)
    return other not in TIERS, abs(steps), -steps
