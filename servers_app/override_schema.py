"""What the calls that decide about a model take and answer, for the OpenAPI document."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers

from models_app.api_schema import answer, errors
from models_app.models import Tier
from servers_app.registry_schema import MODEL_ID, TAGS


class TierOverrideSerializer(serializers.Serializer[Any]):
    tier = serializers.ChoiceField(
        Tier.choices, allow_null=True, help_text="Null takes the override off."
    )


class TierOverriddenSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()
    model_id = serializers.CharField()
    tier = serializers.ChoiceField(
        Tier.choices, allow_null=True, help_text="The effective one, from now on."
    )
    override = serializers.BooleanField()


class ThinkingOverrideSerializer(serializers.Serializer[Any]):
    thinking = serializers.BooleanField(
        allow_null=True, help_text="Null takes the override off."
    )


class ThinkingOverriddenSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()
    model_id = serializers.CharField()
    thinking = serializers.BooleanField(help_text="Whether it thinks, from now on.")
    override = serializers.BooleanField()


class EnableSerializer(serializers.Serializer[Any]):
    enabled = serializers.BooleanField()


class EnabledSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()
    model_id = serializers.CharField()
    enabled = serializers.BooleanField()


_ID: Final = "qwen3_4p0b_q4km_fast"
_NOT_FOUND: Final = f"Model not found: qwen4. Available: {_ID}."

TIER: Final = extend_schema(
    operation_id="override_tier",
    summary="Give a model another tier",
    description="It counts at once: the next request that is routed by tiers is routed by it.",
    tags=TAGS,
    parameters=[MODEL_ID],
    request=TierOverrideSerializer,
    examples=[OpenApiExample("Another tier", value={"tier": "powerful"}, request_only=True)],
    responses={
        200: answer(
            TierOverriddenSerializer,
            {
                "message": f"Tier updated for {_ID}",
                "model_id": _ID,
                "tier": "powerful",
                "override": True,
            },
        ),
        **errors(
            {
                400: "Invalid tier: huge. Must be one of: fast, balanced, powerful",
                404: _NOT_FOUND,
                409: "bge_m3_f16 has no tier to override: its kind is embedding, and only "
                "models that chat have tiers.",
            }
        ),
    },
)
THINKING: Final = extend_schema(
    operation_id="override_thinking",
    summary="Say whether a model thinks",
    description="A model that thinks is powerful, unless its tier is overridden, too. Its "
    "name follows.",
    tags=TAGS,
    parameters=[MODEL_ID],
    request=ThinkingOverrideSerializer,
    examples=[OpenApiExample("It thinks", value={"thinking": True}, request_only=True)],
    responses={
        200: answer(
            ThinkingOverriddenSerializer,
            {
                "message": f"Thinking capability updated for {_ID}",
                "model_id": _ID,
                "thinking": True,
                "override": True,
            },
        ),
        **errors({400: "thinking: it is true, false or null.", 404: _NOT_FOUND}),
    },
)
ENABLED: Final = extend_schema(
    operation_id="enable_model",
    summary="Enable a model in the active profile, or disable it",
    description="Where the profile starts its models at once, the server is asked for, or to "
    "stop; that is not waited for. `GET /api/models/servers` tells how far it is.",
    tags=TAGS,
    parameters=[MODEL_ID],
    request=EnableSerializer,
    examples=[OpenApiExample("Enable it", value={"enabled": True}, request_only=True)],
    responses={
        200: answer(
            EnabledSerializer,
            {"message": f"Model {_ID} enabled", "model_id": _ID, "enabled": True},
        ),
        **errors(
            {
                400: "enabled: it is true or false.",
                404: _NOT_FOUND,
                409: f"{_ID} cannot be started: its file is missing.",
                503: "The queue (Redis) cannot be reached. Start it, or set REDIS_URL.",
            }
        ),
    },
)
