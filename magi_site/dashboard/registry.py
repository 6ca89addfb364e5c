"""The models on the dashboard: how many there are, of which tiers, and how many are enabled."""

from collections import Counter
from dataclasses import dataclass

from django.db.models import Count, Value
from django.db.models.functions import Coalesce, NullIf

from magi_site.dashboard.bars import Bar, bar
from models_app.models import KINDS_WITH_TIER, DiscoveredModel, Tier
from profiles_app.models import Profile, ProfileMember


@dataclass(frozen=True, slots=True)
class Registry:
    present: int
    missing: int
    by_tier: Counter[str]  # of those that are there; "" for kinds that have none


@dataclass(frozen=True, slots=True)
class TierLine:
    label: str
    present: int
    enabled: int
    bar: Bar


def look_at_registry() -> Registry:
    """Count all models, with one query."""
    groups = (
        DiscoveredModel.objects.order_by()
        .values("is_missing", "kind", effective=_own_tier())
        .annotate(models=Count("pk"))
    )
    missing, by_tier = 0, Counter[str]()
    for group in groups:
        if group["is_missing"]:
            missing += group["models"]
        else:
            by_tier[_tier(group["kind"], group["effective"])] += group["models"]
    return Registry(by_tier.total(), missing, by_tier)


def enabled_by_tier(profile: Profile | None) -> Counter[str]:
    """Count what a profile enables by its effective tier there; the missing are left out."""
    if profile is None:
        return Counter()
    members = ProfileMember.objects.filter(profile=profile)
    tiers = dict(members.values_list("model_id", "tier_override"))
    models = DiscoveredModel.objects.filter(
        model_id__in=members.values("model_id"), is_missing=False
    ).order_by()
    return Counter(
        _tier(kind, tiers[model_id] or tier)
        for model_id, kind, tier in models.values_list("model_id", "kind", _own_tier())
    )


def tier_lines(registry: Registry, enabled: Counter[str]) -> list[TierLine]:
    """Return a line for each tier, and one for what has none if there is any."""
    labels = {tier.value: str(tier.label) for tier in Tier}
    if registry.by_tier[""] or enabled[""]:
        labels[""] = "Without a tier"
    most = max((registry.by_tier[tier] for tier in labels), default=0)
    return [
        _line(label, registry.by_tier[tier], enabled[tier], most)
        for tier, label in labels.items()
    ]


def _line(label: str, present: int, enabled: int, most: int) -> TierLine:
    text = f"{label}: {present}, of which enabled: {enabled}"
    return TierLine(label, present, enabled, bar(text, [enabled, present - enabled], most))


def _own_tier() -> Coalesce:
    return Coalesce(NullIf("tier_override", Value("")), "assigned_tier")


def _tier(kind: str, tier: str) -> str:
    return tier if kind in KINDS_WITH_TIER else ""
