"""What the calls of comparisons take and answer, for the OpenAPI document."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers

from models_app.api_schema import WAIT, answer, errors
from models_app.query_params import Choice, Text, WholeNumber
from models_app.task_kinds import TaskKind
from profiles_app.fields import FiniteFloatField, ProseField, TextField, WholeNumberField
from profiles_app.serializers import StrictSerializer
from servers_app.benchmark_models import BenchmarkState
from servers_app.comparing.prompts import MAX_PROMPT_CHARS, MAX_PROMPTS
from servers_app.comparing.service import (
    DEFAULTS,
    MAX_NAME_CHARS,
    MAX_SEED,
    MAX_SYSTEM_CHARS,
    MAX_TEMPERATURE,
    MAX_TOKENS,
)
from servers_app.comparing.votes import SIDES

TAGS: Final = ["Model manager"]
DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
MAX_MODEL_ID_CHARS: Final = 200


# -- what is sent


class PromptSerializer(StrictSerializer):
    prompt = ProseField(max_length=MAX_PROMPT_CHARS)
    task = Choice(TaskKind.values, default=TaskKind.GENERAL.value)


class SettingsSerializer(StrictSerializer):
    """Those of every request, alike for both models."""

    system = ProseField(max_length=MAX_SYSTEM_CHARS, allow_blank=True, required=False)
    max_tokens = WholeNumberField(min_value=1, max_value=MAX_TOKENS, required=False)
    temperature = FiniteFloatField(min_value=0, max_value=MAX_TEMPERATURE, required=False)
    seed = WholeNumberField(min_value=0, max_value=MAX_SEED, required=False)


class AskedSerializer(StrictSerializer):
    """Two models, and either prompts or the task whose shipped prompts are taken."""

    model_a = TextField(max_length=MAX_MODEL_ID_CHARS)
    model_b = TextField(max_length=MAX_MODEL_ID_CHARS)
    prompts = serializers.ListField(
        child=PromptSerializer(), min_length=1, max_length=MAX_PROMPTS, required=False
    )
    task = Choice(
        TaskKind.values, required=False, help_text="The shipped prompts of this task."
    )
    name = TextField(max_length=MAX_NAME_CHARS, allow_blank=True, default="")
    settings = SettingsSerializer(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("prompts" in attrs) == ("task" in attrs):
            msg = "Give prompts, or a task whose shipped prompts are taken; one of the two."
            raise serializers.ValidationError({"prompts": [msg]})
        return attrs


class VoteSerializer(StrictSerializer):
    position = WholeNumberField(min_value=0, max_value=MAX_PROMPTS - 1)
    vote = Choice(SIDES, help_text="Which answer is better.")


class ListQuerySerializer(serializers.Serializer[Any]):
    model = Text(MAX_MODEL_ID_CHARS, required=False, help_text="Only those of this model.")
    state = Choice(BenchmarkState.values, required=False)
    limit = WholeNumber(1, MAX_LIMIT, required=False)


# -- what is answered


class OutlineSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField(allow_blank=True)
    model_a = serializers.CharField()
    model_b = serializers.CharField()
    settings = serializers.DictField()
    state = serializers.ChoiceField(BenchmarkState.choices)
    error = serializers.CharField(allow_blank=True)
    asked_by = serializers.CharField(allow_blank=True)
    asked_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    answered = serializers.IntegerField(min_value=0)
    failed = serializers.IntegerField(min_value=0, help_text="Of those, with an error.")
    total = serializers.IntegerField(min_value=0, help_text="Two for each prompt.")
    percent = serializers.IntegerField(min_value=0, max_value=100)


class AnswerSerializer(serializers.Serializer[Any]):
    """`text`, or `error`; the rest is told after one's vote."""

    text = serializers.CharField(required=False, allow_blank=True)
    error = serializers.CharField(required=False)
    thinking = serializers.CharField(required=False, allow_blank=True)
    finish_reason = serializers.CharField(required=False, allow_blank=True)
    tokens = serializers.IntegerField(required=False, allow_null=True)
    prompt_tokens = serializers.IntegerField(required=False, allow_null=True)
    seconds = serializers.FloatField(required=False)
    first_token_s = serializers.FloatField(required=False, allow_null=True)
    tokens_per_s = serializers.FloatField(required=False, allow_null=True)


class PairSerializer(serializers.Serializer[Any]):
    """A prompt and both answers; which model stands where is told after one's vote."""

    position = serializers.IntegerField(min_value=0)
    task = serializers.ChoiceField(TaskKind.values)
    prompt = serializers.CharField()
    left = AnswerSerializer(allow_null=True)
    right = AnswerSerializer(allow_null=True)
    left_model = serializers.CharField(allow_null=True)
    right_model = serializers.CharField(allow_null=True)
    can_vote = serializers.BooleanField(help_text="Both have answered.")
    vote = serializers.ChoiceField(SIDES, allow_null=True, help_text="One's own.")
    votes = serializers.IntegerField(min_value=0, help_text="Of everybody.")


class ResultSerializer(serializers.Serializer[Any]):
    """How model_a stands against model_b: a sign test, and Wilson's interval of its share."""

    task = serializers.CharField(allow_blank=True, help_text="Empty: all of them.")
    wins = serializers.IntegerField(min_value=0)
    losses = serializers.IntegerField(min_value=0)
    ties = serializers.IntegerField(min_value=0)
    share = serializers.FloatField(allow_null=True)
    share_low = serializers.FloatField(allow_null=True)
    share_high = serializers.FloatField(allow_null=True)
    p = serializers.FloatField(allow_null=True)
    better = serializers.CharField(
        allow_null=True, help_text="Null: it may be chance, or too few have voted."
    )
    sentence = serializers.CharField()


class DetailSerializer(OutlineSerializer):
    speeds = serializers.DictField(
        child=serializers.FloatField(allow_null=True),
        allow_null=True,
        help_text="Mean tokens per second, by model; null until it is over.",
    )
    results = ResultSerializer(many=True)
    prompts = PairSerializer(many=True)


class ListSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField(min_value=0)
    comparisons = OutlineSerializer(many=True)


class ComparisonAcceptedSerializer(serializers.Serializer[Any]):
    """A comparison that goes on, and where to follow it."""

    message = serializers.CharField()
    comparison_id = serializers.IntegerField()
    status_url = serializers.CharField(help_text="To be asked with GET.")


_A: Final = "qwen3_4p0b_q4km_fast"
_B: Final = "gemma3_4p0b_q4km_fast"
_OUTLINE: Final[dict[str, Any]] = {
    "id": 7,
    "name": "",
    "model_a": _A,
    "model_b": _B,
    "settings": dict(DEFAULTS),
    "state": "finished",
    "error": "",
    "asked_by": "ada",
    "asked_at": "2026-11-21T20:30:00Z",
    "finished_at": "2026-11-21T20:34:00Z",
    "answered": 10,
    "failed": 0,
    "total": 10,
    "percent": 100,
}
_PAIR: Final[dict[str, Any]] = {
    "position": 0,
    "task": "coding",
    "prompt": "Write a function that …",
    "left": {"text": "def longest_run(values): …"},
    "right": {"text": "Here is one: …"},
    "left_model": None,
    "right_model": None,
    "can_vote": True,
    "vote": None,
    "votes": 3,
}
_RESULT: Final[dict[str, Any]] = {
    "task": "",
    "wins": 9,
    "losses": 1,
    "ties": 2,
    "share": 0.9,
    "share_low": 0.5958,
    "share_high": 0.9821,
    "p": 0.0215,
    "better": _A,
    "sentence": f"{_A} won 9 of 10 (2 ties): that is more than chance (p = 0.021).",
}
_DETAIL: Final = {
    **_OUTLINE,
    "speeds": {_A: 24.1, _B: 26.8},
    "results": [_RESULT],
    "prompts": [_PAIR],
}
_NOT_FOUND: Final = "Comparison not found: 9. GET /api/models/comparisons lists them."
_ID: Final = OpenApiParameter(
    "pk", {"type": "integer", "minimum": 1}, OpenApiParameter.PATH, description="Its number."
)

LIST: Final = extend_schema(
    operation_id="list_comparisons",
    summary="Comparisons of two models",
    description=f"The newest first, {DEFAULT_LIMIT} unless `limit` says else.",
    tags=TAGS,
    parameters=[ListQuerySerializer],
    responses={
        200: answer(ListSerializer, {"count": 1, "comparisons": [_OUTLINE]}),
        **errors({400: "limit=0: it is a number from 1 to 200."}),
    },
)
ASK: Final = extend_schema(
    operation_id="start_comparison",
    summary="Have two models answer the same prompts",
    description="The same settings for both, the same order. A model that does not run is "
    "launched for this alone, whether the active profile enables it or not, and stopped "
    "afterwards. What is not done when the wait is over goes on.",
    tags=TAGS,
    parameters=[WAIT],
    request=AskedSerializer,
    examples=[
        OpenApiExample(
            "The shipped prompts of a task",
            value={"model_a": _A, "model_b": _B, "task": "coding"},
            request_only=True,
        )
    ],
    responses={
        200: answer(DetailSerializer, _DETAIL),
        202: answer(
            ComparisonAcceptedSerializer,
            {
                "message": "The comparison goes on",
                "comparison_id": 7,
                "status_url": "/api/models/comparisons/7",
            },
        ),
        **errors(
            {
                400: "Give two different models: one against itself tells nothing.",
                404: f"Model not found: qwen4. Available: {_A}.",
                409: f"{_A} cannot be started: its file is missing.",
                503: "The queue (Redis) cannot be reached. Start it, or set REDIS_URL.",
            }
        ),
    },
)
SHOW: Final = extend_schema(
    operation_id="get_comparison",
    summary="A comparison, side by side",
    description="Blind: which model gave which answer, and how fast, is told for each prompt "
    "after the caller's own vote on it.",
    tags=TAGS,
    parameters=[_ID],
    responses={200: answer(DetailSerializer, _DETAIL), **errors({404: _NOT_FOUND})},
)
CANCEL: Final = extend_schema(
    operation_id="cancel_comparison",
    summary="Stop a comparison",
    description="Answers that are there stay. One that is over stays as it is.",
    tags=TAGS,
    parameters=[_ID],
    request=None,
    responses={
        200: answer(OutlineSerializer, {**_OUTLINE, "state": "cancelled"}),
        **errors({404: _NOT_FOUND}),
    },
)
VOTE: Final = extend_schema(
    operation_id="vote_on_comparison",
    summary="Say which of two answers is better",
    description="One vote for each caller and prompt; another one takes its place. A key's "
    "votes are all one person's.",
    tags=TAGS,
    parameters=[_ID],
    request=VoteSerializer,
    examples=[
        OpenApiExample("The left", value={"position": 0, "vote": "left"}, request_only=True)
    ],
    responses={
        200: answer(
            PairSerializer,
            {**_PAIR, "left_model": _B, "right_model": _A, "vote": "left", "votes": 4},
        ),
        **errors({400: "A vote is one of: left, right, tie, neither.", 404: _NOT_FOUND}),
    },
)
