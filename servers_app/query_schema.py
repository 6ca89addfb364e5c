"""What `POST /api/query` takes and answers, for the OpenAPI document."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers

from models_app.api_schema import answer, errors
from models_app.models import Tier
from profiles_app.fields import (
    FiniteFloatField,
    NameField,
    ProseField,
    TruthField,
    WholeNumberField,
)
from profiles_app.serializers import StrictSerializer
from servers_app.gateway.query import MODES, SIMPLE, TWO_STAGE_MODE

MAX_QUERY_CHARS: Final = 2**20
EVENTS: Final = "text/event-stream"


class QuerySerializer(StrictSerializer):
    query = ProseField(max_length=MAX_QUERY_CHARS)
    mode = serializers.ChoiceField(MODES, default="auto")
    max_tokens = WholeNumberField(
        min_value=1, max_value=2**31 - 1, allow_null=True, default=None
    )
    temperature = FiniteFloatField(min_value=0, max_value=10, allow_null=True, default=None)
    preset = NameField(
        max_length=64, allow_null=True, default=None, help_text="Null: the profile's."
    )
    stream = TruthField(default=False)


class ComplexitySerializer(serializers.Serializer[Any]):
    """How hard the question is: 0 to 10."""

    score = serializers.FloatField(min_value=0, max_value=10)
    factors = serializers.DictField(
        child=serializers.FloatField(), help_text="Points of the score, by name."
    )


class StageSerializer(serializers.Serializer[Any]):
    """One model's part in the answer."""

    stage = serializers.IntegerField(min_value=1, max_value=2)
    tier = serializers.ChoiceField(Tier.choices)
    model_id = serializers.CharField()
    response = serializers.CharField(allow_blank=True)
    tokens = serializers.IntegerField(min_value=0, help_text="Written.")
    prompt_tokens = serializers.IntegerField(min_value=0, help_text="Read.")
    time_ms = serializers.IntegerField(min_value=0)


class QueryAnswerSerializer(serializers.Serializer[Any]):
    response = serializers.CharField(allow_blank=True)
    thinking = serializers.CharField(allow_blank=True)
    mode = serializers.ChoiceField([SIMPLE, TWO_STAGE_MODE])
    complexity = ComplexitySerializer()
    tier = serializers.ChoiceField(Tier.choices)
    model_id = serializers.CharField()
    stages = StageSerializer(many=True)
    tokens = serializers.IntegerField(min_value=0, help_text="Of all stages.")
    time_ms = serializers.IntegerField(min_value=0)
    warning = serializers.CharField(
        required=False, help_text="Where the second stage failed, and the draft is the answer."
    )


_ANSWER: Final[dict[str, Any]] = {
    "response": "4",
    "thinking": "",
    "mode": "simple",
    "complexity": {"score": 0.4, "factors": {"words": 0.4}},
    "tier": "fast",
    "model_id": "qwen3_4p0b_q4km_fast",
    "stages": [
        {
            "stage": 1,
            "tier": "fast",
            "model_id": "qwen3_4p0b_q4km_fast",
            "tokens": 2,
            "prompt_tokens": 14,
            "time_ms": 131,
            "response": "4",
        }
    ],
    "tokens": 2,
    "time_ms": 133,
}
_EVENT: Final = {
    "type": "object",
    "description": "Each event: `stage` as one begins, `thinking` and `delta` with its text, "
    "and `done` with the whole; or `error`. `data` is JSON.",
    "properties": {
        "event": {"enum": ["stage", "thinking", "delta", "done", "error"]},
        "data": {"type": "string"},
    },
    "required": ["event", "data"],
}
_STREAM: Final = (
    'event: stage\ndata: {"stage":1,"tier":"fast","model_id":"qwen3_4p0b_q4km_fast"}\n\n'
    'event: delta\ndata: {"stage":1,"text":"4"}\n\n'
    'event: done\ndata: {"response":"4","mode":"simple"}\n\n'
)

QUERY: Final = extend_schema(
    operation_id="query",
    summary="Ask a question",
    tags=["Queries and the gateway"],
    request=QuerySerializer,
    examples=[
        OpenApiExample("A question", value={"query": "What is 2 + 2?"}, request_only=True),
    ],
    responses={
        (200, "application/json"): answer(
            QueryAnswerSerializer, _ANSWER, media_type="application/json"
        ),
        (200, EVENTS): answer(_EVENT, _STREAM, media_type=EVENTS),
        **errors(
            {
                400: 'mode: "best" is not a valid choice.',
                404: "The model 'auto' does not exist, because no model is enabled.",
                413: "The body is larger than the bytes accepted here.",
                502: "The server of the model 'qwen3_4p0b_q4km_fast' broke off.",
                503: "The model 'qwen3_4p0b_q4km_fast' is loading. Try again in 2 seconds.",
                504: "There was no answer within 1800 s.",
            }
        ),
    },
)
