"""What the calls that recommend take and answer, for the OpenAPI document."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import serializers

from models_app.api_schema import answer, errors
from models_app.models import ModelKind
from models_app.query_params import Choice, Text, WholeNumber
from models_app.task_kinds import TaskKind
from profiles_app.fields import TextField
from profiles_app.serializers import StrictSerializer
from servers_app.recommend.floor import MachineClass, ModelClass
from servers_app.recommend.service import DEFAULT_LIMIT, MAX_LIMIT
from servers_app.recommend.speed import Source

TAGS: Final = ["Model manager"]
MAX_NODE_CHARS: Final = 100


class RecommendQuerySerializer(serializers.Serializer[Any]):
    task = Choice(TaskKind.values, required=False, help_text="`general` if it is not given.")
    node = Text(
        MAX_NODE_CHARS, required=False, help_text="A machine; this one if it is not given."
    )
    limit = WholeNumber(
        1, MAX_LIMIT, required=False, help_text=f"How many models; {DEFAULT_LIMIT}."
    )


class RecommendedProfileSerializer(StrictSerializer):
    name = TextField(max_length=100)
    task = Choice(TaskKind.values, default=TaskKind.GENERAL.value)
    node = TextField(max_length=MAX_NODE_CHARS, default="", allow_blank=True)


class FloorSerializer(serializers.Serializer[Any]):
    """What the memory and the cores alone say."""

    machine_class = serializers.ChoiceField([each.value for each in MachineClass])
    model_class = serializers.ChoiceField([each.value for each in ModelClass])
    preset = serializers.CharField(help_text="The sampling preset that goes with the machine.")
    max_tokens = serializers.IntegerField(help_text="Of an answer.")
    context_length = serializers.IntegerField()
    num_threads = serializers.IntegerField()
    batch_size = serializers.IntegerField(help_text="Requests at once: `parallel`.")
    warning = serializers.CharField(allow_blank=True)
    reasons = serializers.ListField(child=serializers.CharField())


class MemoryPartsSerializer(serializers.Serializer[Any]):
    """MiB, estimated, and what of them goes where."""

    weights_mib = serializers.IntegerField()
    projector_mib = serializers.IntegerField()
    kv_cache_mib = serializers.IntegerField()
    compute_mib = serializers.IntegerField()
    estimated_mib = serializers.IntegerField()
    ram_mib = serializers.IntegerField()
    vram_mib = serializers.IntegerField()
    total_mib = serializers.IntegerField()
    is_measured = serializers.BooleanField(
        help_text="Whether the last three were seen at a launch with these settings."
    )


class SpeedSerializer(serializers.Serializer[Any]):
    tokens_per_s = serializers.FloatField(allow_null=True, help_text="Generated.")
    source = serializers.ChoiceField(  # type: ignore[assignment]  # a field of that name
        [each.value for each in Source]
    )
    how = serializers.CharField()


@extend_schema_field(
    {"oneOf": [{"type": "integer"}, {"type": "string", "enum": ["all"]}, {"type": "null"}]}
)
class LayersField(serializers.ReadOnlyField):
    """What `n_gpu_layers` may be recommended to be."""


class RecommendationSerializer(serializers.Serializer[Any]):
    """A model that fits, with what it would be launched with."""

    model_id = serializers.CharField()
    display_name = serializers.CharField()
    tier = serializers.CharField(allow_blank=True, help_text="Empty for a kind without tiers.")
    kind = serializers.ChoiceField(ModelKind.choices)
    size_params = serializers.FloatField(allow_null=True, help_text="Billions.")
    quantization = serializers.CharField(allow_blank=True)
    score = serializers.FloatField(min_value=0, max_value=10)
    suitability = serializers.FloatField(
        min_value=0, max_value=10, help_text="For the task, on any machine."
    )
    context_length = serializers.IntegerField(help_text="The longest useful one that fits.")
    trained_context_length = serializers.IntegerField(allow_null=True)
    cache_type = serializers.CharField(help_text="Of the KV cache: f16, q8_0 or q4_0.")
    n_gpu_layers = LayersField(help_text="A number or `all`; null where there is no GPU.")
    layers = serializers.IntegerField(allow_null=True)
    memory = MemoryPartsSerializer()
    speed = SpeedSerializer()
    fits_now = serializers.BooleanField(help_text="Beside what runs now.")
    run_settings = serializers.DictField()
    reasons = serializers.ListField(child=serializers.CharField())


class NotRecommendedSerializer(serializers.Serializer[Any]):
    model_id = serializers.CharField()
    display_name = serializers.CharField()
    why = serializers.CharField()


class RoomSerializer(serializers.Serializer[Any]):
    """What there is for models when our own servers have stopped."""

    ram_mib = serializers.IntegerField()
    vram_mib = serializers.IntegerField()
    detail = serializers.CharField()


class RecommendationsSerializer(serializers.Serializer[Any]):
    task = serializers.ChoiceField(TaskKind.values)
    node = serializers.CharField()
    room = RoomSerializer()
    floor = FloorSerializer()
    warning = serializers.CharField(allow_blank=True, help_text="Why nothing fits, if so.")
    count = serializers.IntegerField(help_text="How many fit, shown or not.")
    recommendations = RecommendationSerializer(many=True)
    not_recommended = NotRecommendedSerializer(many=True, help_text=f"{MAX_LIMIT} at most.")


class ProfileMemberSerializer(serializers.Serializer[Any]):
    model_id = serializers.CharField()
    tier = serializers.CharField(allow_blank=True, help_text="Empty for a kind without tiers.")
    context_length = serializers.IntegerField()
    cache_type = serializers.CharField()
    n_gpu_layers = LayersField()
    ram_mib = serializers.IntegerField()
    vram_mib = serializers.IntegerField()
    run_settings = serializers.DictField()


class MadeProfileSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()
    name = serializers.SlugField()
    preset = serializers.CharField(allow_null=True)
    members = ProfileMemberSerializer(many=True)
    memory_mib = serializers.IntegerField(help_text="Of all members together.")
    room_mib = serializers.IntegerField(help_text="What the node has for models.")
    warnings = serializers.ListField(child=serializers.CharField())


_SETTINGS: Final = {"ctx_size": 32768, "threads": 6, "parallel": 2, "kv_unified": True}
_RECOMMENDATION: Final[dict[str, Any]] = {
    "model_id": "qwen3_4p0b_q4km_fast",
    "display_name": "QWEN3 4.0B Q4_K_M",
    "tier": "fast",
    "kind": "text",
    "size_params": 4.0,
    "quantization": "Q4_K_M",
    "score": 6.1,
    "suitability": 6.1,
    "context_length": 32768,
    "trained_context_length": 40960,
    "cache_type": "f16",
    "n_gpu_layers": None,
    "layers": 37,
    "memory": {
        "weights_mib": 2382,
        "projector_mib": 0,
        "kv_cache_mib": 4608,
        "compute_mib": 179,
        "estimated_mib": 7168,
        "ram_mib": 7168,
        "vram_mib": 0,
        "total_mib": 7168,
        "is_measured": False,
    },
    "speed": {
        "tokens_per_s": 14.2,
        "source": "benchmark",
        "how": "measured here on 2026-11-20",
    },
    "fits_now": True,
    "run_settings": _SETTINGS,
    "reasons": [
        "Preferred: 6.1 points, no model here has more.",
        "It has 4 billion parameters (+1.7).",
        "It fits with a context of 32,768 tokens: 7,168 MiB, as estimated.",
    ],
}
_ANSWER: Final[dict[str, Any]] = {
    "task": "general",
    "node": "local",
    "room": {
        "ram_mib": 14000,
        "vram_mib": 0,
        "detail": "local has 14,000 of 16,000 MiB for models; 2,000 MiB are kept for the "
        "system.",
    },
    "floor": {
        "machine_class": "mid-range",
        "model_class": "4B",
        "preset": "balanced",
        "max_tokens": 1024,
        "context_length": 4096,
        "num_threads": 6,
        "batch_size": 2,
        "warning": "",
        "reasons": ["15.6 GiB of memory and 8 cores: a mid-range machine, preset balanced"],
    },
    "warning": "",
    "count": 1,
    "recommendations": [_RECOMMENDATION],
    "not_recommended": [
        {
            "model_id": "llama3_70p0b_q4km_powerful",
            "display_name": "LLAMA3 70.0B Q4_K_M",
            "why": "Too large: it needs 41,000 MiB with the shortest context, and there are "
            "14,000 MiB.",
        }
    ],
}
_NO_NODE: Final = "There is no node 'x'. Available: local."

RECOMMENDATIONS: Final = extend_schema(
    operation_id="list_recommendations",
    summary="Which models fit here, the best first",
    description="Every model of the registry is held against the node: which context fits, "
    "with which KV cache and how many layers on GPUs, what it takes, and how fast it will be. "
    "What is reckoned and what was measured is said.",
    tags=TAGS,
    parameters=[RecommendQuerySerializer],
    responses={
        200: answer(RecommendationsSerializer, _ANSWER),
        **errors(
            {
                400: "task=chess: it is one of: general, coding, analysis, creative, vision, "
                "embedding.",
                404: _NO_NODE,
            }
        ),
    },
)
PROFILE: Final = extend_schema(
    operation_id="create_recommended_profile",
    summary="Make a profile of what is recommended",
    description="The best model of each tier that go together within the node's memory, with "
    "their run settings and a sampling preset. Nothing runs by it before it is activated.",
    tags=TAGS,
    request=RecommendedProfileSerializer,
    examples=[
        OpenApiExample(
            "For code", value={"name": "Coding here", "task": "coding"}, request_only=True
        )
    ],
    responses={
        201: answer(
            MadeProfileSerializer,
            {
                "message": "Profile 'Coding here' created successfully",
                "name": "coding-here",
                "preset": "code",
                "members": [
                    {
                        "model_id": "qwen3_4p0b_q4km_fast",
                        "tier": "fast",
                        "context_length": 32768,
                        "cache_type": "f16",
                        "n_gpu_layers": None,
                        "ram_mib": 7168,
                        "vram_mib": 0,
                        "run_settings": _SETTINGS,
                    }
                ],
                "memory_mib": 7168,
                "room_mib": 14000,
                "warnings": [],
            },
        ),
        **errors(
            {
                400: "name: This field may not be blank.",
                404: _NO_NODE,
                409: "Profile 'coding-here' exists already. Choose another name, or change it.",
            }
        ),
    },
)
