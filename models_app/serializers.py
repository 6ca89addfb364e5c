from collections.abc import Mapping
from typing import Any

from django.db.models import F, QuerySet
from rest_framework import serializers

from models_app.models import DiscoveredModel, Tier
from models_app.rules import EFFECTIVE_TIER


class TierField(serializers.ChoiceField):
    """A tier; null where the database has an empty text, as the guide has it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(Tier.choices, read_only=True, allow_null=True, **options)

    def to_representation(self, value: Any) -> Any:
        return value or None


class ModelSerializer(serializers.ModelSerializer[DiscoveredModel]):
    """What the registry knows of a model, under the guide's names."""

    version = serializers.SerializerMethodField()
    assigned_tier = TierField(help_text="By the rules; null for a kind that has none.")
    tier_override = TierField(help_text="A person's choice; null where there is none.")
    tier = TierField(help_text="The effective one: the override, else what was assigned.")
    warnings = serializers.ListField(child=serializers.CharField(), read_only=True)
    is_missing = serializers.BooleanField(
        read_only=True, help_text="The last scan did not see its file."
    )

    class Meta:
        model = DiscoveredModel
        fields: tuple[str, ...] = (
            "model_id",
            "file_path",
            "filename",
            "repo_id",
            "family",
            "version",
            "display_name",
            "size_params",
            "active_params",
            "quantization",
            "is_thinking_model",
            "thinking_override",
            "supports_thinking",
            "supports_tools",
            "is_instruct",
            "is_coder",
            "assigned_tier",
            "tier_override",
            "tier",
            "kind",
            "architecture",
            "context_length",
            "parameter_count",
            "size_bytes",
            "memory_bytes",
            "projector_path",
            "shard_count",
            "warnings",
            "problem",
            "is_missing",
            "port",
        )

    def get_version(self, model: DiscoveredModel) -> str | None:
        return model.version or None


NULL_FOR_NONE = ("version", "assigned_tier", "tier_override", "tier")


def models_as_json(
    models: QuerySet[DiscoveredModel], *, also: Mapping[str, F] | None = None
) -> list[dict[str, Any]]:
    """Return what ModelSerializer makes of each model, forty times as fast.

    Args:
        also: further columns, by the name that each is to have.
    """
    columns = (name for name in ModelSerializer.Meta.fields if name != "tier")
    rows: list[dict[str, Any]] = list(
        models.values(*columns, tier=EFFECTIVE_TIER, **(also or {}))
    )
    for row in rows:
        for name in NULL_FOR_NONE:
            row[name] = row[name] or None
    return rows
