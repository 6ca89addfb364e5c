"""What the page of a server tells, in cards: what is wanted, what is, and how it ended."""

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.db.models import Avg, Count, Q, Sum
from django.utils import timezone

from servers_app.figures import span, uptime
from servers_app.following import exit_text, next_text, without_key
from servers_app.gateway.current import breaker_of, in_flight_of
from servers_app.models import RUNNING, Server, ServerState, Wanted
from servers_app.process_load import Load, load_of
from servers_app.request_models import FAILURES, RequestRecord

HOUR: Final = timedelta(hours=1)
UNTOLD: Final = frozenset({"shape", "progress", "modalities"})  # kept for MAGI itself
FACTS: Final = {
    "n_ctx": "Context of a slot, tokens",
    "ctx_size": "Context asked for, tokens",
    "total_slots": "Slots",
    "build_info": "Build, as it says",
    "model_alias": "Model, as it says",
}


class Fact(NamedTuple):
    label: str
    value: str


class Card(NamedTuple):
    title: str
    facts: list[Fact]


def cards_of(server: Server) -> list[Card]:
    """Return the cards of a server's page; a fact that nobody knows is left out."""
    cards = [
        Card("What is wanted", _wanted(server)),
        Card("What is", _is(server)),
        Card("Process", _process(server, load_of(server))),
        Card("What it came to", _came_to(server)),
        Card("Requests of the last hour", _last_hour(server)),
        Card("How it ended", _ended(server)),
    ]
    told = (
        Card(card.title, [fact for fact in card.facts if fact.value not in {"", "-"}])
        for card in cards
    )
    return [card for card in told if card.facts]


def trouble_of(server: Server) -> list[str]:
    """Return what is wrong with a server and what comes next, if anything is wrong."""
    if server.unreachable_since is not None:
        since = moment(server.unreachable_since)
        return [
            f"Node {server.node} has not been heard of since {since}.",
            "What is shown is of then. The servers there may run on; nothing is sent to them.",
        ]
    if server.state == ServerState.FAILED:
        error = without_key(server.last_error, server) or "It left no reason."
        return [error, *filter(None, (exit_text(server), next_text(server)))]
    if server.state == ServerState.UNHEALTHY:
        return [
            without_key(server.last_error, server)
            or "It runs, but does not answer as it should.",
            "Restart it if that lasts; the log below may say why.",
        ]
    return []


def wanted_text(server: Server) -> str:
    if server.on_request and server.wanted == Wanted.STOPPED:
        return "On request"
    return server.get_wanted_display()


def slots_text(server: Server) -> str:
    """Return how many slots are busy, of how many; "-" for a server that does not run."""
    if server.state not in RUNNING:
        return "-"
    busy, total = in_flight_of(server.pk), server.facts.get("total_slots")
    return " / ".join("?" if each is None else str(each) for each in (busy, total))


def moment(at: datetime | None) -> str:
    """Return when something was, with the date if that is not today, and how long ago."""
    if at is None:
        return ""
    now, there = timezone.localtime(), timezone.localtime(at)
    form = "%H:%M:%S" if there.date() == now.date() else "%Y-%m-%d %H:%M:%S"
    seconds = (now - there).total_seconds()
    ago = f"{span(round(seconds))} ago" if seconds >= 0 else f"in {span(round(-seconds))}"
    return f"{there:{form}}, {ago}"


def _wanted(server: Server) -> list[Fact]:
    is_offered = server.on_request and server.wanted == Wanted.STOPPED
    on_request = "the first request starts it" if is_offered else ""
    restart = server.restart_requested_at if server.is_restart_due else None
    return [
        Fact("Wanted", wanted_text(server)),
        Fact("Means", on_request),
        Fact("Asked by", server.asked_by),
        Fact("Why", server.asked_why),
        Fact("Asked at", moment(server.requested_at)),
        Fact("Restart asked at", moment(restart)),
        Fact("Requests may take until", moment(server.drain_until)),
    ]


def _is(server: Server) -> list[Fact]:
    loaded = None
    if server.ready_at and server.launched_at and server.ready_at >= server.launched_at:
        loaded = server.ready_at - server.launched_at
    failed = server.state == ServerState.FAILED
    return [
        Fact("In this state since", moment(server.state_since)),
        Fact("Unreachable since", moment(server.unreachable_since)),
        Fact("Waits for", server.note),
        Fact("Up for", uptime(server)),
        Fact("Slots busy / all", slots_text(server)),
        Fact("Circuit breaker", _breaker(server)),
        Fact("Restarts nobody asked for", str(server.restarts)),
        Fact("Next start", moment(server.next_start_at) if failed else ""),
        Fact("Health asked", moment(server.health_at) if server.state in RUNNING else ""),
        Fact("Last request", moment(server.last_used_at)),
        Fact("Loaded in", span(loaded.total_seconds()) if loaded else ""),
        Fact("Replica", str(server.replica) if server.replica else ""),
    ]


def _breaker(server: Server) -> str:
    breaker = breaker_of(server.pk)
    if breaker is None:
        return "closed"
    return f"{breaker.state.replace('_', ' ')}, {breaker.failures} failures in a row"


def _process(server: Server, load: Load | None) -> list[Fact]:
    return [
        Fact("Node", server.node),
        Fact("Port", _number(server.port)),
        Fact("PID", _number(server.pid)),
        Fact("Keeper's PID", _number(server.keeper_pid) if server.state in RUNNING else ""),
        Fact("CPU, of one core", cpu_text(load)),
        Fact("Memory now", f"{load.resident_mib:,} MiB" if load else ""),
        Fact("Memory counted for it", _mib(server.memory_mib)),
        Fact("Most memory seen", _mib(server.peak_mib)),
        Fact("Launched", moment(server.launched_at)),
        Fact("Engine", server.engine),
        Fact("Build", server.build),
    ]


def cpu_text(load: Load | None) -> str:
    return f"{load.cpu_percent:.0f} %" if load else "-"


def _came_to(server: Server) -> list[Fact]:
    facts = {name: value for name, value in server.facts.items() if name not in UNTOLD}
    modalities = server.facts.get("modalities") or {}
    takes = [name for name, holds in modalities.items() if holds]
    return [
        *(Fact(label, _told(facts.pop(name, None))) for name, label in FACTS.items()),
        Fact("Takes", ", ".join(["text", *takes]) if server.facts else ""),
        *(
            Fact(name.replace("_", " ").capitalize(), _told(each))
            for name, each in facts.items()
        ),
    ]


def _last_hour(server: Server) -> list[Fact]:
    # By the model first: of that there is an index.
    sums = RequestRecord.objects.filter(
        model_id=server.model.model_id, server_id=server.pk, at__gte=timezone.now() - HOUR
    ).aggregate(
        requests=Count("pk"),
        failures=Count("pk", filter=Q(outcome__in=FAILURES)),
        prompt=Sum("prompt_tokens"),
        completion=Sum("completion_tokens"),
        first=Avg("first_byte_ms"),
    )
    if not sums["requests"]:
        return [Fact("Requests", "none")]
    return [
        Fact("Requests", f"{sums['requests']:,}"),
        Fact("Failed", f"{sums['failures']:,}"),
        Fact("Prompt tokens", f"{sums['prompt'] or 0:,}"),
        Fact("Completion tokens", f"{sums['completion'] or 0:,}"),
        Fact("First token, mean", span(sums["first"] / 1000) if sums["first"] else ""),
    ]


def _ended(server: Server) -> list[Fact]:
    if server.stopped_at is None:
        return []
    error = "" if server.state == ServerState.FAILED else without_key(server.last_error, server)
    return [
        Fact("Ended", moment(server.stopped_at)),
        Fact("Exit", exit_text(server)),
        Fact("Error", error),
    ]


def _told(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _mib(value: int | None) -> str:
    return "" if value is None else f"{value:,} MiB"
