"""The versions of a model's files, as the API has them."""

from typing import Any, Final

from rest_framework import serializers

from models_app.models import DiscoveredModel
from models_app.version_models import HubState, ModelVersion

FIELDS: Final = (
    "is_current",
    "revision",
    "signature",
    "size_bytes",
    "sha256",
    "first_seen_at",
    "verified_at",
    "is_sound",
    "hub_state",
    "hub_commit",
    "hub_checked_at",
)


class VersionSerializer(serializers.ModelSerializer[ModelVersion]):
    """One content that a model's files have had."""

    revision = serializers.CharField(
        read_only=True, help_text="The commit of its repo; empty where none is known."
    )
    signature = serializers.CharField(
        read_only=True, help_text="Equal for equal content: of its hashes, or of size and time."
    )
    sha256 = serializers.DictField(
        child=serializers.CharField(),
        read_only=True,
        help_text="By file: as its blob is named, or as it was reckoned.",
    )
    hub_state = serializers.ChoiceField(
        ["", *HubState.values],
        read_only=True,
        help_text="How the hub compared when it was last asked; empty if it never was.",
    )

    class Meta:
        model = ModelVersion
        fields = FIELDS
        read_only_fields = FIELDS


EXAMPLE: Final[dict[str, Any]] = {
    "is_current": True,
    "revision": "22a880cf3e0b2d9e4b7a3d2e3d0f6a1b5c4d3e2f",
    "signature": "5d41402abc4b2a76b9719d911017c592ae2c9f6f5d41402abc4b2a76b9719d91",
    "size_bytes": 2497281312,
    "sha256": {
        "Qwen3-4B-Q4_K_M.gguf": "f6f851777709861056efcdad3af01da38b31223a3ba26e61a4f8b…"
    },
    "first_seen_at": "2026-11-21T20:30:00Z",
    "verified_at": None,
    "is_sound": None,
    "hub_state": "same",
    "hub_commit": "22a880cf3e0b2d9e4b7a3d2e3d0f6a1b5c4d3e2f",
    "hub_checked_at": "2026-11-21T20:40:00Z",
}


def versions_as_json(model: DiscoveredModel) -> list[dict[str, Any]]:
    """Return what its files have been, the newest first."""
    return list(model.versions.values(*FIELDS))
