"""What an activation takes and answers, and what it would do, for the OpenAPI document."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers

from models_app.api_schema import answer, errors
from profiles_app.api_schema import NAME, TAGS
from profiles_app.models import MAX_REPLICAS
from profiles_app.profile_schema import ProfileValidationSerializer
from servers_app.planning import Step


class ForceSerializer(serializers.Serializer[Any]):
    force = serializers.BooleanField(
        default=False, help_text="Activate it with errors in it, too: what can run, does."
    )


class NotStartedSerializer(serializers.Serializer[Any]):
    """A model that the profile enables and that cannot run, and why."""

    model_id = serializers.CharField()
    detail = serializers.CharField()


class ActivationSerializer(serializers.Serializer[Any]):
    """What was asked of servers; a worker does it."""

    message = serializers.CharField()
    name = serializers.SlugField()
    started = serializers.ListField(
        child=serializers.CharField(),
        help_text="Ids of the models that are to run now; some may have run already.",
    )
    stopped = serializers.ListField(child=serializers.CharField())
    restarted = serializers.ListField(
        child=serializers.CharField(), help_text="Those whose run settings differ."
    )
    moved = serializers.ListField(
        child=serializers.CharField(),
        help_text="Those that may not be on their node any more, and go to another one.",
    )
    missing_models = serializers.ListField(child=serializers.CharField())
    failed = NotStartedSerializer(many=True)
    errors = serializers.ListField(  # type: ignore[assignment]
        child=serializers.CharField(), help_text="What was forced."
    )


class PlannedServerSerializer(serializers.Serializer[Any]):
    """What would become of one server."""

    model_id = serializers.CharField()
    replica = serializers.IntegerField(min_value=0, max_value=MAX_REPLICAS - 1)
    node = serializers.CharField(
        allow_blank=True, help_text="Where it is to be; empty where no node may have it."
    )
    step = serializers.ChoiceField(Step.choices)
    why = serializers.CharField(allow_blank=True)


class PlanSerializer(serializers.Serializer[Any]):
    """What an activation would do now."""

    servers = PlannedServerSerializer(many=True)
    missing_models = serializers.ListField(child=serializers.CharField())
    memory_before_mib = serializers.IntegerField(
        help_text="MiB, estimated, of the servers that are wanted now."
    )
    memory_after_mib = serializers.IntegerField()
    validation = ProfileValidationSerializer()


_NOT_FOUND: Final = "Profile 'x' not found. Available: development, fast-only, production"

ACTIVATE: Final = extend_schema(
    operation_id="activate_profile",
    summary="Make a profile the active one",
    description="Stops the servers that it does not enable, starts those that it does, and "
    "leaves alone what both have. It does not wait for them: `GET /api/models/servers` tells "
    "how far they are.",
    tags=TAGS,
    parameters=[NAME],
    request=ForceSerializer,
    examples=[OpenApiExample("With errors", value={"force": True}, request_only=True)],
    responses={
        200: answer(
            ActivationSerializer,
            {
                "message": "Profile 'production' activated",
                "name": "production",
                "started": ["qwen2_coder_p5_14p0b_q4km_powerful"],
                "stopped": ["qwen3_4p0b_q4km_fast"],
                "restarted": [],
                "moved": [],
                "missing_models": [],
                "failed": [],
                "errors": [],
            },
        ),
        **errors(
            {
                400: "force: it is true or false.",
                404: _NOT_FOUND,
                409: "Profile 'production' was not activated: line 7: enabled_models[0]: No "
                "model here has the id qwen9. Mend it, or activate it all the same with force.",
                503: "Redis, which carries tasks to the workers, cannot be reached.",
            }
        ),
    },
)
PLAN: Final = extend_schema(
    operation_id="plan_profile",
    summary="What an activation would do",
    description="Nothing is changed.",
    tags=TAGS,
    parameters=[NAME],
    responses={
        200: answer(
            PlanSerializer,
            {
                "servers": [
                    {
                        "model_id": "qwen3_4p0b_q4km_fast",
                        "replica": 0,
                        "node": "local",
                        "step": "start",
                        "why": "",
                    }
                ],
                "missing_models": [],
                "memory_before_mib": 0,
                "memory_after_mib": 4210,
                "validation": {
                    "valid": True,
                    "missing_models": [],
                    "tier_mismatches": [],
                    "warnings": [],
                    "errors": [],
                    "findings": [],
                    "memory_mib": 4210,
                },
            },
        ),
        **errors({404: _NOT_FOUND}),
    },
)
