"""The registry's models as a form looks for them: by any part of their names."""

from collections.abc import Collection
from typing import Any

from django.db.models import Q

from models_app.models import DiscoveredModel

MAX_FOUND = 20
MAX_WORDS = 8


def find_models(query: str) -> list[DiscoveredModel]:
    """Return the first models whose names have every word of `query`."""
    wanted = Q()
    for word in query.split()[:MAX_WORDS]:
        names = ("model_id", "display_name", "repo_id", "filename")
        found = Q()
        for name in names:
            found |= Q(**{f"{name}__icontains": word})
        wanted &= found
    models = DiscoveredModel.objects.select_related("root").filter(wanted)
    return list(models.order_by("is_missing", "model_id")[:MAX_FOUND])


def models_by_id(ids: Collection[str]) -> dict[str, DiscoveredModel]:
    rows = DiscoveredModel.objects.select_related("root")
    return rows.in_bulk(list(ids), field_name="model_id")


def as_json(model: DiscoveredModel) -> dict[str, Any]:
    return {
        "id": model.model_id,
        "name": model.display_name,
        "tier": model.tier,
        "place": place_of(model),
        "is_well": model.is_launchable,
    }


def place_of(model: DiscoveredModel) -> str:
    """Return where a model's file is, or why it cannot run from there."""
    if model.is_missing:
        return "its file has gone"
    if model.problem:
        return model.problem
    return f"on {model.root.node}" if model.root else "on this machine"
