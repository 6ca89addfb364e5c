"""The rules that people may change, and classing every model anew when they do."""

from django.db import transaction

from models_app.filename import parse_filename
from models_app.models import DiscoveredModel, DiscoveryRules
from models_app.tiers import assign_tier

BATCH = 200


def current_rules() -> DiscoveryRules:
    """Return the one row of rules; the guide's values until somebody saves others."""
    return DiscoveryRules.objects.filter(pk=1).first() or DiscoveryRules(pk=1)


@transaction.atomic
def retier(rules: DiscoveryRules) -> list[str]:
    """Class every model as `rules` say; return the ids of those that changed.

    No id changes: it keeps the tier under which its model was first registered.
    """
    changed = []
    for model in DiscoveredModel.objects.all():
        before = (model.is_thinking_model, model.assigned_tier)
        model.is_thinking_model = parse_filename(model.filename, rules.words).is_thinking
        model.assigned_tier = tier_of(model, rules)
        if (model.is_thinking_model, model.assigned_tier) != before:
            changed.append(model)
    DiscoveredModel.objects.bulk_update(
        changed, ["is_thinking_model", "assigned_tier"], batch_size=BATCH
    )
    return [model.model_id for model in changed]


def save_overrides(model: DiscoveredModel, *also: str) -> None:
    """Save what a person decided of a model, with the tier that follows from it.

    Only these columns, and those named in `also`: a scan may be writing the others.
    """
    model.assigned_tier = tier_of(model, current_rules())
    columns = ("tier_override", "thinking_override", "assigned_tier")
    model.save(update_fields=[*columns, *also])


def tier_of(model: DiscoveredModel, rules: DiscoveryRules) -> str:
    """Return the tier that the rules assign; empty for a kind that has none."""
    if not model.has_tier:
        return ""
    return assign_tier(
        model.size_params,
        model.quantization,
        is_thinking=model.is_thinking,
        powerful_min=rules.powerful_min,
        fast_max=rules.fast_max,
    )
