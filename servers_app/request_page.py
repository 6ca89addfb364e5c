"""What the page of one request shows: what came, what was decided and why, what came back."""

from typing import Final, NamedTuple, TypedDict

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Q, QuerySet
from django.urls import reverse

from models_app.lookup import find_model
from models_app.models import Tier
from profiles_app.models import Profile
from servers_app.complexity.scores import MAX_SCORE, Score
from servers_app.complexity.scoring import explain
from servers_app.figures import milliseconds
from servers_app.gateway.routes import AUTO, TWO_STAGE, tier_for
from servers_app.gateway.table import tier_rules
from servers_app.models import Server
from servers_app.request_errors import Explained, explained
from servers_app.request_models import RequestRecord

WIDTH: Final = 640.0  # of the line of times, in its own units
MIN_WIDTH: Final = 2.0  # what is there can be seen
FACTOR_WIDTH: Final = 100.0  # of the bar of the factor that counts most


class Factor(NamedTuple):
    name: str
    points: float
    words: str
    width: float  # of its bar
    is_less: bool  # it makes the request simpler


class Span(NamedTuple):
    """A part of the time that a request took."""

    number: int  # of its colour
    label: str
    length: str
    x: float
    width: float


class Link(NamedTuple):
    label: str
    url: str  # empty: there is no page, or one may not see it


class Button(NamedTuple):
    value: str
    label: str
    is_pressed: bool


class Shown(TypedDict):
    decided: str
    model: Link
    server: Link | None
    factors: list[Factor]
    score_percent: float | None
    error: Explained | None
    spans: list[Span]
    tokens_per_s: str
    labels: list[Button]
    newer: RequestRecord | None
    older: RequestRecord | None


def shown(record: RequestRecord, user: User | AnonymousUser) -> Shown:
    newer, older = _neighbours(record)
    return {
        "decided": _decided(record),
        "model": _model(record, user),
        "server": _server(record, user),
        "factors": _factors(record),
        "score_percent": None if record.score is None else 100 * record.score / MAX_SCORE,
        "error": explained(record),
        "spans": spans_of(record),
        "tokens_per_s": _tokens_per_s(record),
        "labels": [Button(tier, str(tier.label), tier == record.label) for tier in Tier],
        "newer": newer,
        "older": older,
    }


def spans_of(record: RequestRecord) -> list[Span]:
    """Return the wait, the time to the first byte and the rest, as parts of a line."""
    total = record.total_ms
    if total <= 0:
        return []
    waited = min(record.queued_ms, total)
    first = (
        total if record.first_byte_ms is None else min(max(record.first_byte_ms, waited), total)
    )
    lengths = (
        (1, "waited for a slot", waited),
        (
            2,
            "to the first byte" if record.first_byte_ms is not None else "no byte came",
            first - waited,
        ),
        (3, "the rest of the answer", total - first),
    )
    spans: list[Span] = []
    x = 0.0
    for number, label, ms in lengths:
        if ms > 0:
            width = max(MIN_WIDTH, WIDTH * ms / total)
            x = min(x, WIDTH - width)
            spans.append(Span(number, label, milliseconds(ms), round(x, 1), round(width, 1)))
            x += width
    return spans


def _decided(record: RequestRecord) -> str:
    """Say in a sentence how its tier or its model came about."""
    if record.score is not None:
        return _by_score(record, record.score)
    if record.asked == TWO_STAGE:
        return "It asked for a draft by one model and an answer by another."
    if record.asked in Tier.values:
        return f"It named the tier {Tier(record.asked).label} itself."
    if record.asked and record.asked == record.model_id:
        return "It named the model itself."
    if record.asked:
        return f"It asked for “{record.asked}”."
    return "It named no model."


def _by_score(record: RequestRecord, score: float) -> str:
    sentence = f"It asked for {record.asked or AUTO}, and scored {score:.1f} of 10"
    if not record.tier:
        return f"{sentence}. No model was found for it."
    tier = Tier(_tier_for(score)).label
    if tier == record.get_tier_display():
        return f"{sentence}: that is {tier}."
    return (
        f"{sentence}: in the profile that is active now that is {tier}. "
        f"{record.get_tier_display()} was taken, the nearest that had a model for it."
    )


def _tier_for(score: float) -> str:
    """Return the tier that the active profile has for a score; it may have been another."""
    active = Profile.objects.filter(is_active=True).first()
    return tier_for(score, tier_rules(active) if active else ())


def _factors(record: RequestRecord) -> list[Factor]:
    if record.score is None:
        return []
    parts = explain(Score(record.score, record.scored_by, record.factors))
    most = max((abs(points) for _, points, _ in parts), default=0.0) or 1.0
    return [
        Factor(name, points, words, round(FACTOR_WIDTH * abs(points) / most, 1), points < 0)
        for name, points, words in parts
    ]


def _model(record: RequestRecord, user: User | AnonymousUser) -> Link:
    url = ""
    if record.model_id and user.has_perm("models_app.view_discoveredmodel"):
        model = find_model(record.model_id)
        if model is not None:
            url = reverse("admin:models_app_discoveredmodel_change", args=[model.pk])
    return Link(record.model_id, url)


def _server(record: RequestRecord, user: User | AnonymousUser) -> Link | None:
    if record.server_id is None:
        return None
    is_there = (
        user.has_perm("servers_app.view_server")
        and Server.objects.filter(pk=record.server_id).exists()
    )
    page = "admin:servers_app_server_change"
    return Link(
        f"server {record.server_id}", reverse(page, args=[record.server_id]) if is_there else ""
    )


def _tokens_per_s(record: RequestRecord) -> str:
    """Return the speed of the answer since its first byte; "-" where it came in one piece."""
    if not (record.is_stream and record.completion_tokens and record.first_byte_ms is not None):
        return "-"
    ms = record.total_ms - record.first_byte_ms
    return f"{1000 * record.completion_tokens / ms:.1f}" if ms > 0 else "-"


def _neighbours(
    record: RequestRecord,
) -> tuple[RequestRecord | None, RequestRecord | None]:
    rows: QuerySet[RequestRecord] = RequestRecord.objects.only("pk", "request_id")
    newer = rows.filter(Q(at__gt=record.at) | Q(at=record.at, pk__gt=record.pk))
    older = rows.filter(Q(at__lt=record.at) | Q(at=record.at, pk__lt=record.pk))
    return newer.order_by("at", "pk").first(), older.order_by("-at", "-pk").first()
