from rest_framework import serializers

from models_app.models import DiscoveredModel


class ModelSerializer(serializers.ModelSerializer[DiscoveredModel]):
    """What the registry knows of a model, under the guide's names."""

    version = serializers.SerializerMethodField()
    tier = serializers.SerializerMethodField()
    tier_override = serializers.SerializerMethodField()
    assigned_tier = serializers.SerializerMethodField()

    class Meta:
        model = DiscoveredModel
        fields = (
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

    # The guide has null where the database has an empty text.
    def get_version(self, model: DiscoveredModel) -> str | None:
        return model.version or None

    def get_tier(self, model: DiscoveredModel) -> str | None:
        return model.tier or None

    def get_tier_override(self, model: DiscoveredModel) -> str | None:
        return model.tier_override or None

    def get_assigned_tier(self, model: DiscoveredModel) -> str | None:
        return model.assigned_tier or None
