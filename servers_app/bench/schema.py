"""What the calls of benchmarks take and answer, for the OpenAPI document."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers

from models_app.api_schema import WAIT, answer, errors
from models_app.query_params import Choice, Text, WholeNumber
from profiles_app.fields import TextField, WholeNumberField
from profiles_app.serializers import StrictSerializer
from servers_app.bench import plan
from servers_app.benchmark_models import BenchmarkKind, BenchmarkState

TAGS: Final = ["Model manager"]
DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
MAX_MODEL_ID_CHARS: Final = 200
MAX_ID: Final = 2**63 - 1
_DEFAULT: Final = plan.Plan()


# -- what is sent


class BenchmarkAskedSerializer(StrictSerializer):
    """A model, and what is to be measured of it."""

    model_id = TextField(max_length=MAX_MODEL_ID_CHARS)
    contexts = serializers.ListField(
        child=WholeNumberField(min_value=plan.CONTEXT.least, max_value=plan.CONTEXT.most),
        min_length=1,
        max_length=plan.LONGEST,
        required=False,
        help_text=f"Tokens of the prompts. Without it: {list(_DEFAULT.contexts)}.",
    )
    clients = serializers.ListField(
        child=WholeNumberField(min_value=plan.CLIENTS.least, max_value=plan.CLIENTS.most),
        min_length=1,
        max_length=plan.LONGEST,
        required=False,
        help_text=f"How many ask at once. Without it: {list(_DEFAULT.clients)}.",
    )
    repeats = WholeNumberField(
        min_value=plan.REPEATS.least,
        max_value=plan.REPEATS.most,
        required=False,
        help_text=f"Rounds of each. Without it: {_DEFAULT.repeats}.",
    )
    tokens = WholeNumberField(
        min_value=plan.TOKENS.least,
        max_value=plan.TOKENS.most,
        required=False,
        help_text=f"Generated for each answer. Without it: {_DEFAULT.tokens}.",
    )
    max_seconds = WholeNumberField(
        min_value=plan.MAX_SECONDS.least,
        max_value=plan.MAX_SECONDS.most,
        required=False,
        help_text=f"Afterwards no round is begun. Without it: {_DEFAULT.max_seconds}.",
    )
    target = Choice(
        plan.TARGETS,
        required=False,
        help_text="A private server, which is the default, or the model's own as it runs.",
    )


class ListQuerySerializer(serializers.Serializer[Any]):
    model = Text(MAX_MODEL_ID_CHARS, required=False, help_text="Only those of this model.")
    node = Text(100, required=False)
    kind = Choice(BenchmarkKind.values, required=False)
    state = Choice(BenchmarkState.values, required=False)
    limit = WholeNumber(1, MAX_LIMIT, required=False)


class CompareQuerySerializer(serializers.Serializer[Any]):
    a = WholeNumber(1, MAX_ID)
    b = WholeNumber(1, MAX_ID)


# -- what is answered


class BenchmarkSerializer(serializers.Serializer[Any]):
    """A benchmark; its figures are medians of one client, at the plan's first context."""

    id = serializers.IntegerField()
    model_id = serializers.CharField()
    node = serializers.CharField()
    kind = serializers.ChoiceField(BenchmarkKind.choices)
    state = serializers.ChoiceField(BenchmarkState.choices)
    progress = serializers.FloatField(min_value=0, max_value=1)
    note = serializers.CharField(allow_blank=True)
    error = serializers.CharField(allow_blank=True)
    build = serializers.CharField(allow_blank=True)
    machine = serializers.CharField(allow_blank=True)
    prompt_tokens_per_s = serializers.FloatField(allow_null=True)
    generation_tokens_per_s = serializers.FloatField(allow_null=True)
    first_token_ms = serializers.FloatField(allow_null=True)
    load_seconds = serializers.FloatField(allow_null=True, help_text="Cold.")
    peak_ram_mib = serializers.IntegerField(allow_null=True)
    peak_vram_mib = serializers.IntegerField(allow_null=True)
    asked_by = serializers.CharField(allow_blank=True)
    asked_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class BenchmarkDetailSerializer(BenchmarkSerializer):
    """A benchmark with every sample, and what it says of the model's tier."""

    settings = serializers.DictField(help_text="Run settings that the model had.")
    plan = serializers.DictField()
    figures = serializers.ListField(
        child=serializers.DictField(),
        help_text="`measured` says what: depth (one client), clients, load, first answer, "
        "memory, machine. `values` are all samples, `spreads` how they spread.",
    )
    outcome = serializers.DictField(help_text="Of a search for settings.")
    expected_time_seconds = serializers.FloatField(
        allow_null=True, help_text="Of an answer of 200 tokens."
    )
    challenges = serializers.ListField(
        child=serializers.CharField(),
        help_text="Models that are faster or slower here than their tiers say.",
    )


class BenchmarkListSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField(min_value=0)
    benchmarks = BenchmarkSerializer(many=True)


class BenchmarkAcceptedSerializer(serializers.Serializer[Any]):
    """A benchmark that goes on, and where to follow it."""

    message = serializers.CharField()
    benchmark_id = serializers.IntegerField()
    status_url = serializers.CharField(help_text="To be asked with GET.")


class BenchmarkLineSerializer(serializers.Serializer[Any]):
    """One figure of both benchmarks."""

    measured = serializers.CharField()
    figure = serializers.CharField()
    # A field, not what a serializer has by that name.
    context = serializers.IntegerField()  # type: ignore[assignment]
    clients = serializers.IntegerField()
    a = serializers.DictField(help_text="count, median, mean, stdev, min, max.")
    b = serializers.DictField()
    change_percent = serializers.FloatField(help_text="Of the medians, from a to b.")
    p = serializers.FloatField(
        allow_null=True, help_text="Welch's t-test, with Holm's correction for so many lines."
    )
    verdict = serializers.ChoiceField(("better", "worse", "noise", "unknown"))
    sentence = serializers.CharField()


class BenchmarkComparedSerializer(serializers.Serializer[Any]):
    a = serializers.IntegerField()
    b = serializers.IntegerField()
    verdict = serializers.CharField()
    is_noise = serializers.BooleanField()
    caveats = serializers.ListField(
        child=serializers.CharField(), help_text="What else differs: machines, builds, …"
    )
    lines = BenchmarkLineSerializer(many=True)


_OUTLINE: Final[dict[str, Any]] = {
    "id": 12,
    "model_id": "qwen3_4p0b_q4km_fast",
    "node": "local",
    "kind": "measure",
    "state": "finished",
    "progress": 1.0,
    "note": "",
    "error": "",
    "build": "0.6.0-dev (build 11434, commit 57a4d1f)",
    "machine": "AMD Ryzen 7 7840U, 16 cores, 31 GiB",
    "prompt_tokens_per_s": 182.4,
    "generation_tokens_per_s": 17.9,
    "first_token_ms": 711.0,  # nosec B105
    "load_seconds": 6.2,
    "peak_ram_mib": 4312,
    "peak_vram_mib": 0,
    "asked_by": "ada",
    "asked_at": "2026-11-21T20:30:00Z",
    "started_at": "2026-11-21T20:30:01Z",
    "finished_at": "2026-11-21T20:36:40Z",
}
_SPREAD: Final = {
    "count": 5, "median": 17.9, "mean": 17.8, "stdev": 0.2, "min": 17.4, "max": 18.0
}  # fmt: skip
_DETAIL: Final = {
    **_OUTLINE,
    "settings": {"ctx_size": 8192, "threads": 8},
    "plan": _DEFAULT.as_json(),
    "figures": [
        {
            "measured": "depth",
            "context": 128,
            "clients": 1,
            "values": {"generation_tokens_per_s": [17.9, 17.4, 18.0, 17.9, 17.8]},
            "spreads": {"generation_tokens_per_s": _SPREAD},
        }
    ],
    "outcome": {},
    "expected_time_seconds": 12.1,
    "challenges": [],
}
_COMPARED: Final = {
    "a": 11,
    "b": 12,
    "verdict": "Their settings differ in threads. The second generates 12.0 % faster, more "
    "than the spread of both.",
    "is_noise": False,
    "caveats": ["Their settings differ in threads."],
    "lines": [
        {
            "measured": "depth",
            "figure": "generation_tokens_per_s",
            "context": 128,
            "clients": 1,
            "a": {**_SPREAD, "median": 16.0},
            "b": _SPREAD,
            "change_percent": 12.0,
            "p": 0.0004,
            "verdict": "better",
            "sentence": "12.0 % faster, more than the spread of both",
        }
    ],
}
_NOT_FOUND: Final = "Benchmark not found: 99. `manage.py bench --list` shows them."
_ID: Final = OpenApiParameter(
    "pk", {"type": "integer", "minimum": 1}, OpenApiParameter.PATH, description="Its number."
)

LIST: Final = extend_schema(
    operation_id="list_benchmarks",
    summary="What was measured",
    description="The newest first. Other parameters are refused.",
    tags=TAGS,
    parameters=[ListQuerySerializer],
    responses={
        200: answer(BenchmarkListSerializer, {"count": 1, "benchmarks": [_OUTLINE]}),
        **errors({400: "limit=0: it is a number from 1 to 200."}),
    },
)
ASK: Final = extend_schema(
    operation_id="measure_model",
    summary="Measure a model",
    description="A worker launches a private server of it, when those before it are measured, "
    "and ends it afterwards. It takes minutes; what is not done in time is answered with 202.",
    tags=TAGS,
    parameters=[WAIT],
    request=BenchmarkAskedSerializer,
    examples=[
        OpenApiExample(
            "Example",
            value={"model_id": "qwen3_4p0b_q4km_fast", "contexts": [128, 2048], "repeats": 5},
            request_only=True,
        )
    ],
    responses={
        200: answer(BenchmarkDetailSerializer, _DETAIL),
        202: answer(
            BenchmarkAcceptedSerializer,
            {
                "message": "The benchmark goes on",
                "benchmark_id": 12,
                "status_url": "/api/models/benchmarks/12",
            },
        ),
        **errors(
            {
                400: "repeats: Give a whole number from 1 to 50.",
                404: "Model not found: qwen4. Available: qwen3_4p0b_q4km_fast.",
                409: "qwen3_4p0b_q4km_fast cannot be run: its file is missing.",
                503: "No worker of node 'local' answers. Start one (make run starts it).",
            }
        ),
    },
)
SHOW: Final = extend_schema(
    operation_id="get_benchmark",
    summary="One benchmark",
    tags=TAGS,
    parameters=[_ID],
    responses={200: answer(BenchmarkDetailSerializer, _DETAIL), **errors({404: _NOT_FOUND})},
)
CANCEL: Final = extend_schema(
    operation_id="cancel_benchmark",
    summary="Cancel a benchmark",
    description="One that runs ends within a second; one that has ended stays as it is.",
    tags=TAGS,
    parameters=[_ID],
    request=None,
    responses={200: answer(BenchmarkSerializer, _OUTLINE), **errors({404: _NOT_FOUND})},
)
COMPARE: Final = extend_schema(
    operation_id="compare_benchmarks",
    summary="Whether one benchmark differs from another by more than noise",
    tags=TAGS,
    parameters=[CompareQuerySerializer],
    responses={
        200: answer(BenchmarkComparedSerializer, _COMPARED),
        **errors(
            {
                400: "Benchmarks 12 and 14 have no figure in common: measure both with the "
                "same contexts and clients.",
                404: _NOT_FOUND,
                409: "Benchmark 12 is running; only finished ones can be compared.",
            }
        ),
    },
)
