"""What the page of a plan shows: each server as it is and as it would be, and the memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from profiles_app.models import Profile
from profiles_app.resolution import memory_mib, settings_of_all
from profiles_app.validation import Validation, validate
from servers_app.figures import loaded_percent
from servers_app.following import exit_text, without_key
from servers_app.models import Node, Server, ServerState
from servers_app.planning import Plan, Step, Wish, make_plan

MIB = 2**20

# In the order in which somebody wants to know of them, each with how its badge looks.
_BADGES = {
    Step.REFUSED: ("cannot run", "failed"),
    Step.STOP: ("stops", "failed"),
    Step.MOVE: ("moves", "starting"),
    Step.RESTART: ("restarts", "starting"),
    Step.START: ("starts", "ready"),
    Step.ON_REQUEST: ("starts on request", "tag"),
    Step.STAY: ("stays", "tag"),
}
_ORDER = list(_BADGES)
_COUNTED = {
    Step.REFUSED: "cannot run",
    Step.STOP: "stop",
    Step.MOVE: "move",
    Step.RESTART: "restart",
    Step.START: "start",
    Step.ON_REQUEST: "start on request",
    Step.STAY: "stay",
}
_WHY = {
    Step.STOP: "The profile does not enable it.",
    Step.START: "The profile enables it, and it does not run.",
    Step.ON_REQUEST: "The profile starts servers when a request names the model.",
    Step.STAY: "It runs with these settings already.",
}
_DISTURBING = (Step.STOP, Step.MOVE, Step.RESTART)
_AT_AN_END = (ServerState.READY, ServerState.FAILED)


@dataclass(frozen=True, slots=True)
class PlannedServer:
    """A line of the plan."""

    wish: Wish
    badge: str
    looks: str
    why: str
    node: str
    memory_mib: int
    loaded_percent: int | None
    trouble: str  # how it ended, of a server that has failed

    @property
    def state(self) -> str:
        server = self.wish.server
        return server.state if server else ServerState.STOPPED

    @property
    def state_label(self) -> str:
        server = self.wish.server
        return server.get_state_display() if server else "Never started"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the servers of the active profile are."""

    ready: int
    failed: int
    count: int

    @property
    def at_an_end(self) -> int:
        return self.ready + self.failed

    @property
    def is_over(self) -> bool:
        return self.at_an_end == self.count


@dataclass(frozen=True, slots=True)
class PlanPage:
    plan: Plan
    servers: list[PlannedServer]
    counts: list[tuple[str, int]]
    validation: Validation
    budget_mib: int | None
    budget_of: str
    progress: Progress | None  # none for a profile that is not active

    @property
    def disturbs(self) -> bool:
        """Whether servers that run now would be stopped, for good or for a moment."""
        return any(line.wish.step in _DISTURBING for line in self.servers)

    @property
    def changes(self) -> bool:
        """Whether an activation would do anything to a server."""
        return any(line.wish.step in (Step.START, *_DISTURBING) for line in self.servers)

    @property
    def is_over_budget(self) -> bool:
        return self.budget_mib is not None and self.plan.memory_after_mib > self.budget_mib

    @property
    def scale_mib(self) -> int:
        """Return what the bars of the memory are drawn against."""
        plan = self.plan
        return max(self.budget_mib or 0, plan.memory_before_mib, plan.memory_after_mib, 1)


def plan_page(profile: Profile) -> PlanPage:
    """Return what an activation of `profile` would do now, and what is wrong with it."""
    plan = make_plan(profile)
    servers = sorted(_lines(profile, plan), key=lambda line: _ORDER.index(line.wish.step))
    steps = [line.wish.step for line in servers]
    budget, of = _budget(profile, {line.wish.node for line in servers})
    return PlanPage(
        plan=plan,
        servers=servers,
        counts=[(word, steps.count(step)) for step, word in _COUNTED.items()],
        validation=validate(profile),
        budget_mib=budget,
        budget_of=of,
        progress=_progress(plan.wishes) if profile.is_active else None,
    )


def _lines(profile: Profile, plan: Plan) -> Iterator[PlannedServer]:
    models = list({wish.model.pk: wish.model for wish in plan.wishes}.values())
    settings = settings_of_all(models, profile)
    for wish in plan.wishes:
        badge, looks = _BADGES[wish.step]
        server = wish.server
        yield PlannedServer(
            wish=wish,
            badge=badge,
            looks=looks,
            why=_why(wish),
            node=_node(wish),
            memory_mib=memory_mib(wish.model, settings[wish.model.model_id]),
            loaded_percent=loaded_percent(server) if server else None,
            trouble=_trouble(server),
        )


def _node(wish: Wish) -> str:
    if wish.step == Step.MOVE and wish.server is not None:
        return f"{wish.server.node} → {wish.node}"
    return wish.node or "none"


def _why(wish: Wish) -> str:
    if wish.step == Step.RESTART:
        return f"Its settings differ: {wish.why}."
    if wish.step == Step.MOVE:
        return f"It goes {wish.why}."
    if wish.why and wish.step in (Step.START, Step.ON_REQUEST):
        return f"{_WHY[wish.step]} No node has room for it: {wish.why}."
    return wish.why or _WHY.get(wish.step, "")


def _trouble(server: Server | None) -> str:
    if server is None or server.state != ServerState.FAILED:
        return ""
    return without_key(server.last_error, server) or exit_text(server)


def _budget(profile: Profile, nodes: Iterable[str]) -> tuple[int | None, str]:
    """Return the MiB that there are for the servers, and who says so."""
    if profile.memory_budget_mib is not None:
        return profile.memory_budget_mib, "the profile's budget"
    rows = list(Node.objects.filter(name__in=nodes))
    have = [_node_mib(row) for row in rows]
    if not have or not all(have):
        return None, ""
    return sum(have), " and ".join(f"what {row.name} has" for row in rows)


def _node_mib(node: Node) -> int:
    hardware = node.hardware
    gpus = sum(gpu["total_bytes"] for gpu in hardware.get("gpus", ()))
    return int((hardware.get("total_bytes", 0) + gpus) // MIB)


def _progress(wishes: Iterable[Wish]) -> Progress | None:
    states = [
        wish.server.state
        for wish in wishes
        if wish.server and wish.step in (Step.STAY, Step.RESTART, Step.START)
    ]
    if not states:
        return None
    ready, failed = (states.count(state) for state in _AT_AN_END)
    return Progress(ready=ready, failed=failed, count=len(states))
