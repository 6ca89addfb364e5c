"""What a benchmark says of a model's tier: offered to people, and never done by itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from django.db import transaction

from models_app import audit
from models_app.audit_models import Action
from models_app.models import DiscoveredModel, Tier
from profiles_app.rows import as_document
from profiles_app.services import require_active_profile, save_document
from servers_app.bench.results import DEPTH, Figure, figures_of, latest_by_model
from servers_app.bench.spread import RELEVANT
from servers_app.benchmark_models import Benchmark, BenchmarkKind, BenchmarkState
from servers_app.errors import BenchmarkInvalidError

ANSWER_TOKENS: Final = 200  # of an answer as people get it
PROMPT_TOKENS: Final = 512  # the prompt that is nearest to it is taken
MAX_NAMED: Final = 3
_RANKS: Final = {Tier.FAST: 0, Tier.BALANCED: 1, Tier.POWERFUL: 2}


@dataclass(frozen=True, slots=True)
class Applied:
    """What an expected time became."""

    profile: str
    tier: str
    before: float
    after: float


def expected_seconds(benchmark: Benchmark) -> float | None:
    """Return how long the model takes for an answer of 200 tokens; None if nobody knows.

    That is its first token after the prompt that is nearest to 512 tokens, and the rest of the
    answer at the rate that it had there.
    """
    found: dict[int, dict[str, Figure]] = {}
    for figure in figures_of(benchmark):
        if figure.measured == DEPTH:
            found.setdefault(figure.context, {})[figure.name] = figure
    if not found:
        return None
    nearest = found[min(found, key=lambda context: abs(context - PROMPT_TOKENS))]
    first, rate = nearest.get("first_token_ms"), nearest.get("generation_tokens_per_s")
    if first is None or rate is None or not rate.spread.median:
        return None
    seconds = first.spread.median / 1000 + ANSWER_TOKENS / rate.spread.median
    return round(seconds, 1)


def why_not_applied(benchmark: Benchmark) -> str:
    """Return why a benchmark says nothing of a tier; empty if it does."""
    if benchmark.kind != BenchmarkKind.MEASURE or benchmark.state != BenchmarkState.FINISHED:
        return f"Benchmark {benchmark.pk} has not measured anything: it is {benchmark.state}."
    model = DiscoveredModel.objects.filter(model_id=benchmark.model_id).first()
    if model is None:
        return f"{benchmark.model_id} is not registered any more."
    if not model.tier:
        return f"{benchmark.model_id} has no tier."
    if expected_seconds(benchmark) is None:
        return f"Benchmark {benchmark.pk} has no figures of a single client."
    return ""


@transaction.atomic
def apply_expected_time(benchmark: Benchmark, *, who: str = "") -> Applied:
    """Have the active profile expect of the model's tier the time that was measured.

    The profile gets a new version, and its text keeps what does not change.

    Raises:
        NoActiveProfileError: no profile is active.
        BenchmarkInvalidError: it says nothing of a tier, or the profile has no rule for it.
        ProfileInvalidError: the profile cannot be saved as it is.
    """
    seconds = expected_seconds(benchmark)
    if (why := why_not_applied(benchmark)) or seconds is None:
        raise BenchmarkInvalidError(why)
    tier = DiscoveredModel.objects.get(model_id=benchmark.model_id).tier
    profile = require_active_profile()
    document = as_document(profile)
    rule = next((rule for rule in document["tier_config"] if rule["name"] == tier), None)
    if rule is None:
        msg = f"Profile '{profile.slug}' has no rule for the tier {tier}. Add one first."
        raise BenchmarkInvalidError(msg)
    before, rule["expected_time_seconds"] = rule["expected_time_seconds"], seconds
    if before != seconds:
        save_document(document, slug=profile.slug, author=who)
        after = {"profile": profile.slug, "tier": tier, "expected_time_seconds": seconds}
        audit.record(
            Action.UPDATE,
            benchmark,
            before={**after, "expected_time_seconds": before},
            after=after,
            who=who,
        )
    return Applied(profile.slug, tier, before, seconds)


def challenges(benchmark: Benchmark) -> list[str]:
    """Return sentences on models that are faster here than their tiers say, or slower.

    Each model counts with its newest benchmark on the same node.
    """
    rate = benchmark.generation_tokens_per_s
    latest = latest_by_model(benchmark.node)
    models = DiscoveredModel.objects.filter(model_id__in=[*latest, benchmark.model_id])
    tiers = {model.model_id: Tier(model.tier) for model in models if model.tier}
    own = tiers.get(benchmark.model_id)
    if own is None or not rate:
        return []
    rates = {
        model_id: other.generation_tokens_per_s
        for model_id, other in latest.items()
        if model_id != benchmark.model_id and other.generation_tokens_per_s
    }
    return [
        *_challenged(benchmark.model_id, rate, own, rates, tiers, is_slower=True),
        *_challenged(benchmark.model_id, rate, own, rates, tiers, is_slower=False),
    ]


def _challenged(
    model_id: str,
    rate: float,
    own: Tier,
    rates: Mapping[str, float],
    tiers: Mapping[str, Tier],
    *,
    is_slower: bool,
) -> list[str]:
    """Name the models of slower tiers that are faster, or those of faster tiers, slower."""
    found = [
        f"{other} ({tiers[other]}, {others_rate:.1f})"
        for other, others_rate in sorted(rates.items())
        if other in tiers
        and (
            _RANKS[tiers[other]] > _RANKS[own] and others_rate > rate * (1 + RELEVANT)
            if is_slower
            else _RANKS[tiers[other]] < _RANKS[own] and rate > others_rate * (1 + RELEVANT)
        )
    ]
    if not found:
        return []
    named = ", ".join(found[:MAX_NAMED])
    more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    word = "slower" if is_slower else "faster"
    return [
        f"{model_id} is {own} by its tier, and generates {rate:.1f} tokens/s here: {word} than "
        f"{named}{more}. See whether its tier is right."
    ]
