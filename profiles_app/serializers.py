"""PROFILE, as the API and the YAML files have it: shapes, bounds and defaults.

The defaults are those of the profile documents (seeds 000 and 001).
"""

import math
from typing import Any

from django.db import transaction
from rest_framework import serializers

from models_app.models import Tier
from profiles_app.models import Profile, ProfileMember, Strategy, TierRule

MAX_INTEGER = 2**31 - 1  # what a PositiveIntegerField holds
NO_LIMIT = {math.inf, "inf", ".inf"}

DEFAULT_TIERS: tuple[dict[str, Any], ...] = (
    {"name": Tier.FAST, "max_score": 3.0, "expected_time_seconds": 2},
    {"name": Tier.BALANCED, "max_score": 7.0, "expected_time_seconds": 5},
    {"name": Tier.POWERFUL, "max_score": None, "expected_time_seconds": 15},
)


class FiniteFloatField(serializers.FloatField):
    """A number: neither NaN, which passes every bound, nor infinite."""

    def to_internal_value(self, data: Any) -> float:
        value = float(super().to_internal_value(data))
        if not math.isfinite(value):
            self.fail("invalid")
        return value


class ScoreLimitField(FiniteFloatField):
    """A score, or no limit: `.inf` in YAML, null in JSON."""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        return super().run_validation(
            None if isinstance(data, float | str) and data in NO_LIMIT else data
        )


class TierRuleSerializer(serializers.Serializer[Any]):
    name = serializers.ChoiceField(choices=Tier.choices)
    max_score = ScoreLimitField(allow_null=True, default=None, min_value=0, max_value=1e9)
    expected_time_seconds = FiniteFloatField(default=5, min_value=0, max_value=1e9)
    description = serializers.CharField(default="", allow_blank=True, max_length=200)


class TwoStageSerializer(serializers.Serializer[Any]):
    enabled = serializers.BooleanField(default=False)
    stage1_tier = serializers.ChoiceField(choices=Tier.choices, default=Tier.BALANCED)
    stage2_tier = serializers.ChoiceField(choices=Tier.choices, default=Tier.POWERFUL)
    stage1_max_tokens = serializers.IntegerField(
        default=500, min_value=1, max_value=MAX_INTEGER
    )


class LoadBalancingSerializer(serializers.Serializer[Any]):
    enabled = serializers.BooleanField(default=True)
    strategy = serializers.ChoiceField(choices=Strategy.choices, default=Strategy.ROUND_ROBIN)
    health_check_interval = serializers.IntegerField(
        default=30, min_value=1, max_value=MAX_INTEGER, help_text="Seconds."
    )


class ProfileSerializer(serializers.Serializer[Profile]):
    """Pass `slug` to `save`: the name of a file decides it, not the name inside."""

    name = serializers.CharField(max_length=100)
    description = serializers.CharField(default="", allow_blank=True)
    enabled_models = serializers.ListField(
        child=serializers.CharField(max_length=200), default=list
    )
    tier_config = TierRuleSerializer(many=True, required=False)
    two_stage = TwoStageSerializer(required=False)
    load_balancing = LoadBalancingSerializer(required=False)

    def validate_tier_config(self, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        names = [tier["name"] for tier in value]
        if len(set(names)) != len(names):
            msg = f"A tier stands there twice: {', '.join(names)}."
            raise serializers.ValidationError(msg)
        return value

    def validate_enabled_models(self, value: list[str]) -> list[str]:
        return list(dict.fromkeys(value))

    @transaction.atomic
    def create(self, validated_data: dict[str, Any]) -> Profile:
        two_stage = _defaults(TwoStageSerializer()) | validated_data.get("two_stage", {})
        balancing = _defaults(LoadBalancingSerializer()) | validated_data.get(
            "load_balancing", {}
        )
        profile = Profile.objects.create(
            slug=validated_data["slug"],
            name=validated_data["name"],
            description=validated_data["description"],
            two_stage_enabled=two_stage["enabled"],
            two_stage_stage1_tier=two_stage["stage1_tier"],
            two_stage_stage2_tier=two_stage["stage2_tier"],
            two_stage_stage1_max_tokens=two_stage["stage1_max_tokens"],
            load_balancing_enabled=balancing["enabled"],
            load_balancing_strategy=balancing["strategy"],
            health_check_interval=balancing["health_check_interval"],
        )
        ProfileMember.objects.bulk_create(
            ProfileMember(profile=profile, model_id=model_id, position=position)
            for position, model_id in enumerate(validated_data["enabled_models"])
        )
        TierRule.objects.bulk_create(
            TierRule(profile=profile, position=position, **tier)
            for position, tier in enumerate(validated_data.get("tier_config", DEFAULT_TIERS))
        )
        return profile


def _defaults(serializer: serializers.Serializer[Any]) -> dict[str, Any]:
    return {name: field.default for name, field in serializer.fields.items()}
