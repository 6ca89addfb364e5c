"""What the calls under /ai/ answer, for the OpenAPI document."""

from collections.abc import Mapping
from typing import Any, Final

from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiResponse,
    extend_schema,
    inline_serializer,
)
from rest_framework import serializers

from models_app.api_schema import JSON, WAIT, answer
from models_app.task_kinds import TaskKind
from servers_app.manager import examples
from servers_app.manager.serializers import (
    AvailableQuerySerializer,
    BenchmarkRequestSerializer,
    DownloadRequestSerializer,
    HistoryQuerySerializer,
    SelectQuerySerializer,
    SwitchRequestSerializer,
)

TAGS: Final = ["Model manager"]
_PART_DOWN: Final = "A part that is needed is down."
_WORDS: Final = {
    400: "What was sent cannot be used.",
    403: "Whoever calls may not, or the hub wants to know who asks.",
    404: "No model goes by that name; nor does the hub have one, if it was asked.",
    409: "Something is in the way.",
    502: "It was tried, and failed.",
    503: _PART_DOWN,
    507: "The disk is full.",
}


class ManagerErrorSerializer(serializers.Serializer[Any]):
    """Why a call of the model manager came to nothing."""

    success = serializers.BooleanField(help_text="False.")
    error = serializers.CharField(help_text="What, which one, and what to do.")
    code = serializers.CharField(help_text="A word for programs.")
    message = serializers.CharField(help_text="As `error`.")
    timestamp = serializers.DateTimeField()


class ListedPerformanceSerializer(serializers.Serializer[Any]):
    """Null is what nobody has measured."""

    tokens_per_second = serializers.FloatField(allow_null=True)
    avg_latency_ms = serializers.FloatField(
        allow_null=True, help_text="From a request to the end of its answer."
    )
    memory_mb = serializers.FloatField(allow_null=True, help_text="MiB.")
    measured_by = serializers.ChoiceField(["requests", "benchmark"], allow_null=True)
    measured_at = serializers.DateTimeField(allow_null=True)


class InstalledModelSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="As switch-model takes it.")
    model_id = serializers.CharField()
    display_name = serializers.CharField()
    size = serializers.CharField(allow_null=True, help_text="Parameters.")
    format = serializers.ChoiceField(["gguf", "sbs"])
    type = serializers.CharField()
    quantization = serializers.CharField(allow_null=True)
    size_bytes = serializers.IntegerField()
    enabled = serializers.BooleanField()
    status = serializers.CharField(help_text="Of its server.")
    last_used = serializers.DateTimeField(allow_null=True)
    performance = ListedPerformanceSerializer()
    task_suitability = serializers.DictField(child=serializers.FloatField())


class FetchableModelSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="As download-model takes it.")
    size = serializers.CharField(allow_null=True)
    description = serializers.CharField()
    popularity = serializers.IntegerField(
        allow_null=True, help_text="Downloads of the last 30 days, if the hub tells them."
    )
    source = serializers.CharField(  # type: ignore[assignment]  # a field of that name
        help_text="ollama or huggingface."
    )
    listed_by = serializers.ChoiceField(
        ["hub", "catalogue"], help_text="The hub's search, or a list that comes with MAGI."
    )


class AvailableModelsSerializer(serializers.Serializer[Any]):
    installed = InstalledModelSerializer(many=True)
    available = FetchableModelSerializer(many=True)
    active_model = serializers.CharField(allow_null=True)


class StatusPerformanceSerializer(ListedPerformanceSerializer):
    error_rate = serializers.FloatField(allow_null=True, help_text="0 to 1.")
    total_requests = serializers.IntegerField(help_text="Of the last 24 hours.")


class ResourceUsageSerializer(serializers.Serializer[Any]):
    memory_mb = serializers.FloatField(allow_null=True, help_text="MiB.")
    cpu_percent = serializers.FloatField(allow_null=True, help_text="Of one core.")
    memory_percent = serializers.FloatField(allow_null=True, help_text="Of the machine's.")


class CapabilitiesSerializer(serializers.Serializer[Any]):
    type = serializers.CharField()
    supports = serializers.ListField(child=serializers.CharField())
    max_context = serializers.IntegerField(allow_null=True, help_text="Tokens.")
    quantization = serializers.CharField(allow_null=True)


class ModelStatusSerializer(serializers.Serializer[Any]):
    """Null in all but `status` where nobody has switched to a model."""

    current_model = serializers.CharField(allow_null=True)
    model_id = serializers.CharField(allow_null=True)
    display_name = serializers.CharField(allow_null=True)
    status = serializers.CharField(help_text="Of its server; `none` without a model.")
    error = serializers.CharField(allow_null=True, help_text="Why its server failed.")
    uptime_seconds = serializers.IntegerField(allow_null=True)
    performance = StatusPerformanceSerializer(allow_null=True)
    resource_usage = ResourceUsageSerializer(allow_null=True)
    capabilities = CapabilitiesSerializer(allow_null=True)
    task_suitability = serializers.DictField(child=serializers.FloatField(), allow_null=True)


class CandidateSerializer(serializers.Serializer[Any]):
    model_name = serializers.CharField()
    model_id = serializers.CharField()
    score = serializers.FloatField()
    enabled = serializers.BooleanField()


class SelectedModelSerializer(serializers.Serializer[Any]):
    task = serializers.ChoiceField(TaskKind.values)
    model_name = serializers.CharField()
    model_id = serializers.CharField()
    display_name = serializers.CharField()
    score = serializers.FloatField(help_text="0 to 10.")
    reasons = serializers.ListField(child=serializers.CharField())
    enabled = serializers.BooleanField()
    task_suitability = serializers.DictField(
        child=serializers.FloatField(allow_null=True), help_text="Null: it cannot do that."
    )
    candidates = CandidateSerializer(many=True)


class DownloadProgressSerializer(serializers.Serializer[Any]):
    download_id = serializers.IntegerField(allow_null=True)
    model_name = serializers.CharField()
    status = serializers.CharField(
        help_text="queued, downloading, verifying, installed, failed or cancelled."
    )
    progress = serializers.IntegerField(min_value=0, max_value=100)
    download_size = serializers.CharField(allow_null=True)
    estimated_time_seconds = serializers.IntegerField(allow_null=True)
    install_path = serializers.CharField(
        allow_null=True, help_text="Null for whoever may not change servers."
    )
    model_id = serializers.CharField(allow_null=True, help_text="When it is registered.")
    downloaded_bytes = serializers.IntegerField()
    total_bytes = serializers.IntegerField(allow_null=True)
    bytes_per_second = serializers.FloatField(allow_null=True)
    auto_switch = serializers.BooleanField()
    error = serializers.CharField(allow_null=True)
    error_code = serializers.CharField(allow_null=True)
    status_url = serializers.CharField(allow_null=True, required=False)


class SwitchedModelSerializer(serializers.Serializer[Any]):
    previous_model = serializers.CharField(allow_null=True)
    current_model = serializers.CharField(allow_null=True)
    status = serializers.CharField(help_text="active, loading or downloading.")
    load_time_ms = serializers.IntegerField(
        allow_null=True, help_text="From the call until it answers."
    )
    model_id = serializers.CharField(allow_null=True)
    display_name = serializers.CharField(allow_null=True)
    was_loaded = serializers.BooleanField()
    download = DownloadProgressSerializer(allow_null=True)
    status_url = serializers.CharField()


class MeasuredModelSerializer(serializers.Serializer[Any]):
    model_name = serializers.CharField()
    model_id = serializers.CharField()
    benchmark_id = serializers.IntegerField()
    status = serializers.CharField()
    progress = serializers.IntegerField(min_value=0, max_value=100)
    tokens_per_second = serializers.FloatField(allow_null=True, help_text="Generated.")
    prompt_tokens_per_second = serializers.FloatField(allow_null=True)
    first_token_ms = serializers.FloatField(allow_null=True)
    load_time_ms = serializers.IntegerField(allow_null=True)
    memory_mb = serializers.IntegerField(allow_null=True)
    status_url = serializers.CharField()


class PastPerformanceSerializer(serializers.Serializer[Any]):
    timestamp = serializers.DateTimeField()
    performance = serializers.DictField()
    resource_usage = serializers.DictField()
    benchmarks = serializers.DictField()
    task_suitability = serializers.DictField(child=serializers.FloatField())


class PerformanceHistorySerializer(serializers.Serializer[Any]):
    model_name = serializers.CharField()
    model_id = serializers.CharField()
    history = PastPerformanceSerializer(many=True)


def _enveloped(data: type[serializers.Serializer[Any]]) -> serializers.Serializer[Any]:
    name = data.__name__.removesuffix("Serializer")
    return inline_serializer(
        f"{name}Answer",
        {
            "success": serializers.BooleanField(help_text="True."),
            "data": data(),
            "message": serializers.CharField(),
            "timestamp": serializers.DateTimeField(),
        },
    )


def _failures(why: Mapping[int, tuple[str, str]]) -> dict[tuple[int, str], OpenApiResponse]:
    """Return how a call fails, by status: a word for programs, and a sentence."""
    return {
        (status, JSON): OpenApiResponse(
            ManagerErrorSerializer,
            description=_WORDS[status],
            examples=[OpenApiExample("Error", value=examples.failure(*each), media_type=JSON)],
        )
        for status, each in why.items()
    }


_UNKNOWN: Final = ("unknown_name", "Model not found: qwen4. Available: qwen3_4p0b_q4km_fast.")
_AMBIGUOUS: Final = (
    "ambiguous_name",
    "'org/repo' may be any of 2 models: repo_q4km, repo_q8_0. Give an id.",
)
_NO_WORKER: Final = ("no_worker", "No worker of node 'local' answers. Start one.")
_BAD_BODY: Final = ("invalid", "model_name: This field is required.")
_FETCH: Final = {
    403: ("gated", "meta-llama/Llama-3.2-1B is gated. Set HF_TOKEN, and ask again."),
    507: ("disk_full", "It takes 3.8 GB, and 1.2 GB are free. Make room, and ask again."),
}
_SWITCHED: Final = _enveloped(SwitchedModelSerializer)
_DOWNLOAD: Final = _enveloped(DownloadProgressSerializer)
_MEASURED: Final = _enveloped(MeasuredModelSerializer)

AVAILABLE: Final = extend_schema(
    operation_id="ai_available_models",
    summary="List models, here and to be had",
    tags=TAGS,
    parameters=[AvailableQuerySerializer],
    responses={200: answer(_enveloped(AvailableModelsSerializer), examples.AVAILABLE)},
)
STATUS: Final = extend_schema(
    operation_id="ai_model_status",
    summary="Show the current model",
    tags=TAGS,
    responses={200: answer(_enveloped(ModelStatusSerializer), examples.STATUS)},
)
SELECT: Final = extend_schema(
    operation_id="ai_select_model",
    summary="Choose a model for a task",
    tags=TAGS,
    parameters=[SelectQuerySerializer],
    responses={
        200: answer(_enveloped(SelectedModelSerializer), examples.SELECTED),
        **_failures(
            {
                400: ("invalid", "task=cooking: it is one of: general, coding, analysis…"),
                404: ("no_suitable_model", "No model can do the task 'vision'."),
            }
        ),
    },
)
SWITCH: Final = extend_schema(
    operation_id="ai_switch_model",
    summary="Switch to a model",
    description="The one before stays loaded, as long as there is memory for both.",
    tags=TAGS,
    parameters=[WAIT],
    request=SwitchRequestSerializer,
    examples=[OpenApiExample("Switch", value=examples.SWITCH, request_only=True)],
    responses={
        200: answer(_SWITCHED, examples.SWITCHED),
        202: answer(_SWITCHED, examples.SWITCHING, description="It loads, or is downloaded."),
        **_failures(
            {
                400: _BAD_BODY,
                404: _UNKNOWN,
                409: _AMBIGUOUS,
                502: ("failed", "qwen3_4p0b_q4km_fast failed. Its exit code was 1."),
                503: _NO_WORKER,
                **_FETCH,
            }
        ),
    },
)
DOWNLOAD: Final = extend_schema(
    operation_id="ai_download_model",
    summary="Download a model",
    description="It is answered as soon as its size is known and it fits.",
    tags=TAGS,
    parameters=[WAIT],
    request=DownloadRequestSerializer,
    examples=[OpenApiExample("Download", value=examples.DOWNLOAD, request_only=True)],
    responses={
        200: answer(_DOWNLOAD, examples.DOWNLOADING, description="It is here already."),
        202: answer(_DOWNLOAD, examples.DOWNLOADING, description="It is being downloaded."),
        **_failures(
            {
                400: _BAD_BODY,
                404: ("unknown", "There is no llama9:7b in Ollama's registry."),
                409: ("unsupported", "There is nothing in it for llama-server."),
                502: ("failed", "It could not be written: I/O error."),
                503: _NO_WORKER,
                **_FETCH,
            }
        ),
    },
)
PROGRESS: Final = extend_schema(
    operation_id="ai_download_progress",
    summary="Follow a download",
    tags=TAGS,
    responses={
        200: answer(_DOWNLOAD, examples.DOWNLOADING),
        **_failures({404: ("not_found", "Download not found: 99.")}),
    },
)
BENCHMARK: Final = extend_schema(
    operation_id="ai_benchmark_model",
    summary="Measure a model",
    tags=TAGS,
    parameters=[WAIT],
    request=BenchmarkRequestSerializer,
    examples=[OpenApiExample("Measure", value={"model_name": "mistral:7b"}, request_only=True)],
    responses={
        200: answer(_MEASURED, examples.MEASURED),
        202: answer(_MEASURED, examples.MEASURED, description="It is being measured."),
        **_failures(
            {
                400: _BAD_BODY,
                404: _UNKNOWN,
                409: _AMBIGUOUS,
                502: ("failed", "The server of the benchmark did not start."),
                503: _NO_WORKER,
            }
        ),
    },
)
HISTORY: Final = extend_schema(
    operation_id="ai_performance_history",
    summary="Show how a model performed",
    tags=TAGS,
    parameters=[HistoryQuerySerializer],
    responses={
        200: answer(_enveloped(PerformanceHistorySerializer), examples.HISTORY),
        **_failures(
            {400: ("invalid", "model_name: This field is required."), 404: _UNKNOWN,
             409: _AMBIGUOUS}
        ),
    },
)  # fmt: skip
