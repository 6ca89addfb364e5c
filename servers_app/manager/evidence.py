"""What is known of models beyond their files: three queries, however many models."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from django.db.models import Sum
from django.utils import timezone

from models_app.models import DiscoveredModel
from servers_app.bench.results import latest_by_model
from servers_app.comparing.tally import Tally
from servers_app.comparing.votes import tallies
from servers_app.manager.aptitude import Evidence, Traits, words_of
from servers_app.request_models import UsageMinute

LOOKED_BACK: Final = timedelta(days=7)  # at requests


def traits_of(model: DiscoveredModel) -> Traits:
    """Return what a model's row says; nothing that a list of models defers is read."""
    return Traits(
        kind=model.kind,
        billions=model.size_params,
        active_billions=model.active_params,
        quantization=model.quantization,
        context_length=model.context_length,
        is_coder=model.is_coder,
        # What has a chat template with tools or thinking in it was trained to answer, too,
        # whatever its name says.
        is_instruct=model.is_instruct or model.supports_tools or model.supports_thinking,
        is_thinking=model.is_thinking
        or (model.thinking_override is None and model.supports_thinking),
        has_tools=model.supports_tools,
        has_projector=bool(model.projector_path),
        words=words_of(model.family, model.variant, model.display_name),
    )


def evidence_by_model() -> Mapping[str, Evidence]:
    """Return what was measured, voted and served, by model id; Evidence() for the others."""
    speeds = _speeds()
    votes: dict[str, dict[str, Tally]] = defaultdict(dict)
    for (model_id, task), tally in tallies().items():
        votes[model_id][task] = tally
    found: dict[str, Evidence] = defaultdict(Evidence)
    served = _served()
    for model_id in {*speeds, *votes, *served}:
        prompt, generation = speeds.get(model_id, (None, None))
        requests, failures, tokens, total_ms = served.get(model_id, (0, 0, 0, 0.0))
        found[model_id] = Evidence(
            generation_tokens_per_s=generation,
            prompt_tokens_per_s=prompt,
            requests=requests,
            failures=failures,
            served_tokens_per_s=1000 * tokens / total_ms if total_ms else None,
            votes=votes.get(model_id, {}),
        )
    return found


def _speeds() -> dict[str, tuple[float | None, float | None]]:
    """Return prompt and generation, in tokens a second, of each model's newest benchmark."""
    return {
        model_id: (newest.prompt_tokens_per_s, newest.generation_tokens_per_s)
        for model_id, newest in latest_by_model().items()
    }


def _served() -> dict[str, tuple[int, int, int, float]]:
    rows = (
        UsageMinute.objects.filter(minute__gte=timezone.now() - LOOKED_BACK)
        .exclude(model_id="")
        .order_by()
        .values_list("model_id")
        .annotate(*map(Sum, ("requests", "failures", "completion_tokens", "total_ms")))
    )
    return {model_id: (all_, bad, tokens, ms) for model_id, all_, bad, tokens, ms in rows}
