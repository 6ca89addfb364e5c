"""What the calls of searches take and answer, for the OpenAPI document."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers

from models_app.api_schema import WAIT, answer, errors
from models_app.query_params import Choice
from profiles_app.fields import FiniteFloatField, TextField, TruthField
from profiles_app.serializers import StrictSerializer
from servers_app.benchmark_models import BenchmarkKind, BenchmarkState
from servers_app.tuning.goals import Goal
from servers_app.tuning.service import DEFAULT_MINUTES, MAX_MINUTES, MIN_MINUTES

TAGS: Final = ["Model manager"]
MAX_MODEL_ID_CHARS: Final = 200


class TuningAskedSerializer(StrictSerializer):
    """A model, and how long is searched for what."""

    model_id = TextField(max_length=MAX_MODEL_ID_CHARS)
    minutes = FiniteFloatField(
        min_value=MIN_MINUTES, max_value=MAX_MINUTES, default=DEFAULT_MINUTES
    )
    goal = Choice([*map(str, Goal)], default=str(Goal.BOTH))
    allow_lossy = TruthField(
        default=False, help_text="Try KV types below q8_0, too, which may cost quality."
    )


class TuningSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    kind = serializers.ChoiceField(BenchmarkKind.choices)
    model_id = serializers.CharField()
    node = serializers.CharField()
    build = serializers.CharField(allow_blank=True)
    machine = serializers.CharField(allow_blank=True)
    state = serializers.ChoiceField(BenchmarkState.choices)
    error = serializers.CharField(allow_blank=True)
    progress = serializers.FloatField(min_value=0, max_value=1)
    note = serializers.CharField(allow_blank=True)
    plan = serializers.DictField()
    settings_before = serializers.DictField()
    outcome = serializers.DictField(help_text="trials, settings, gain, baseline.")
    sentence = serializers.CharField(allow_blank=True, help_text="What it came to.")
    asked_by = serializers.CharField(allow_blank=True)
    asked_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class TuningAcceptedSerializer(serializers.Serializer[Any]):
    """A search that goes on, and where to follow it."""

    message = serializers.CharField()
    benchmark_id = serializers.IntegerField()
    status_url = serializers.CharField(help_text="To be asked with GET.")


class AppliedSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()
    settings = serializers.DictField(help_text="Those that the model has now.")
    overruled = serializers.DictField(
        child=serializers.CharField(), help_text="By setting: who says else, and counts more."
    )


_ID: Final = "qwen3_4p0b_q4km_fast"
_SEARCH: Final[dict[str, Any]] = {
    "id": 12,
    "kind": "tune",
    "model_id": _ID,
    "node": "local",
    "build": "0.6.0-dev (build 11434, commit 57a4d1f)",
    "machine": "AMD Ryzen 7 7700, 16 cores, 64 GiB",
    "state": "finished",
    "error": "",
    "progress": 1.0,
    "note": "",
    "plan": {"minutes": 10.0, "goal": "generation", "allow_lossy": False},
    "settings_before": {"threads": 15, "flash_attn": "auto"},
    "outcome": {"settings": {"threads": 8}, "trials": []},
    "sentence": "threads 8: +0 % prompt, no more than noise; +18 % generation, more than "
    "noise (9 tried).",
    "asked_by": "ada",
    "asked_at": "2026-11-21T20:30:00Z",
    "started_at": "2026-11-21T20:30:00Z",
    "finished_at": "2026-11-21T20:38:00Z",
}

ASK: Final = extend_schema(
    operation_id="tune_model",
    summary="Search for faster run settings of a model",
    description="Nothing is applied by it. A search of the model that is under way is "
    "followed instead of a second one. It is a benchmark of the kind `tune`: the calls of "
    "benchmarks show and cancel it.",
    tags=TAGS,
    parameters=[WAIT],
    request=TuningAskedSerializer,
    examples=[
        OpenApiExample(
            "Ten minutes for generation",
            value={"model_id": _ID, "minutes": 10, "goal": "generation"},
            request_only=True,
        )
    ],
    responses={
        200: answer(TuningSerializer, _SEARCH),
        202: answer(
            TuningAcceptedSerializer,
            {
                "message": "The search goes on",
                "benchmark_id": 12,
                "status_url": "/api/models/benchmarks/12",
            },
        ),
        **errors(
            {
                400: "goal: it is one of generation, prompt, both.",
                404: f"Model not found: qwen4. Available: {_ID}.",
                409: f"{_ID} cannot be started: its file is missing.",
                503: "The queue (Redis) cannot be reached. Start it, or set REDIS_URL.",
            }
        ),
    },
)
APPLY: Final = extend_schema(
    operation_id="apply_tuning",
    summary="Take over what a search found",
    description="Into the run settings of the model, beside what they say already. A server "
    "that runs keeps what it has until it is restarted.",
    tags=TAGS,
    parameters=[
        OpenApiParameter(
            "pk",
            {"type": "integer", "minimum": 1},
            OpenApiParameter.PATH,
            description="Its number.",
        )
    ],
    request=None,
    responses={
        200: answer(
            AppliedSerializer,
            {
                "message": "It has threads 8 from its next start on. A server that runs keeps "
                "what it has: restart it.",
                "settings": {"threads": 8},
                "overruled": {},
            },
        ),
        **errors(
            {
                404: "Benchmark not found: 99.",
                409: "Search 12 found nothing better, so there is nothing to apply.",
            }
        ),
    },
)
