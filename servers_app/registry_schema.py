"""What each call of the registry takes and answers, for the OpenAPI document."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers

from models_app import version_schema
from models_app.api_schema import answer, errors
from models_app.models import DiscoveredModel, Tier
from models_app.serializers import ModelSerializer
from models_app.version_schema import VersionSerializer
from servers_app.model_filters import ModelQuerySerializer, RegistryQuerySerializer
from servers_app.models import Server, ServerState

TAGS: Final = ["Registry and tiers"]

MODEL_ID: Final = OpenApiParameter(
    "model_id",
    {"type": "string", "minLength": 1},
    OpenApiParameter.PATH,
    description="Of the registry: lower-case letters, digits and `_`.",
)


class RegisteredModelSerializer(ModelSerializer):
    """A model, whether the active profile enables it, and what its server does."""

    enabled = serializers.BooleanField(read_only=True)
    state = serializers.ChoiceField(
        ServerState.choices,
        read_only=True,
        help_text="Of its server; of several, of the one that comes nearest to ready.",
    )
    nodes = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        help_text="Those that have its files, its home first.",
    )

    class Meta(ModelSerializer.Meta):
        fields = (*ModelSerializer.Meta.fields, "enabled", "state", "nodes")
        read_only_fields = fields


class PlaceSerializer(serializers.ModelSerializer[Server]):
    """One of a model's servers."""

    class Meta:
        model = Server
        fields = ("node", "replica", "state", "port")
        read_only_fields = fields


class FullModelSerializer(RegisteredModelSerializer):
    """A model with all that is known of it."""

    node = serializers.CharField(
        read_only=True, allow_null=True, help_text="Its home: that of `file_path`."
    )
    scan_root = serializers.CharField(read_only=True, allow_null=True)
    metadata = serializers.DictField(read_only=True, help_text="From the file's header.")
    servers = PlaceSerializer(many=True, read_only=True)
    versions = VersionSerializer(
        many=True, read_only=True, help_text="What its files have been, the newest first."
    )

    class Meta(RegisteredModelSerializer.Meta):
        model = DiscoveredModel
        fields = (
            *RegisteredModelSerializer.Meta.fields,
            "variant",
            "blob_path",
            "node",
            "scan_root",
            "metadata",
            "notes",
            "discovered_at",
            "updated_at",
            "servers",
            "versions",
        )
        read_only_fields = fields


class ThresholdsSerializer(serializers.Serializer[Any]):
    """Where the tiers begin and end, in billions of parameters."""

    powerful_min = serializers.FloatField()
    fast_max = serializers.FloatField()


class RegistrySerializer(serializers.Serializer[Any]):
    """The models that were found. The last three keys are there with `page` or `page_size`."""

    models = serializers.DictField(child=RegisteredModelSerializer(), help_text="By their ids.")
    scan_path = serializers.CharField(help_text="Several are separated by commas.")
    last_scan = serializers.DateTimeField(allow_null=True)
    port_range = serializers.ListField(
        child=serializers.IntegerField(), min_length=2, max_length=2
    )
    tier_thresholds = ThresholdsSerializer()
    count = serializers.IntegerField(
        required=False, help_text="How many models there are on all pages."
    )
    next = serializers.CharField(
        required=False, allow_null=True, help_text="The path of the page after this one."
    )
    previous = serializers.CharField(required=False, allow_null=True)


_MODEL: Final[dict[str, Any]] = {
    "model_id": "qwen3_4p0b_q4km_fast",
    "file_path": "/models/Qwen3-4B-Q4_K_M.gguf",
    "filename": "Qwen3-4B-Q4_K_M.gguf",
    "repo_id": "unsloth/Qwen3-4B-GGUF",
    "family": "qwen",
    "version": "3",
    "display_name": "QWEN3 4.0B Q4_K_M",
    "size_params": 4.0,
    "active_params": None,
    "quantization": "Q4_K_M",
    "is_thinking_model": False,
    "thinking_override": None,
    "supports_thinking": True,
    "supports_tools": True,
    "is_instruct": False,
    "is_coder": False,
    "assigned_tier": "fast",
    "tier_override": None,
    "tier": "fast",
    "kind": "text",
    "architecture": "qwen3",
    "context_length": 40960,
    "parameter_count": 4022468096,
    "size_bytes": 2497281312,
    "memory_bytes": 7516192768,
    "projector_path": "",
    "shard_count": 1,
    "warnings": [],
    "problem": "",
    "is_missing": False,
    "port": 8080,
    "enabled": True,
    "state": "ready",
    "nodes": ["local"],
}
_FULL: Final = {
    **_MODEL,
    "variant": "",
    "blob_path": "/models/Qwen3-4B-Q4_K_M.gguf",
    "node": "local",
    "scan_root": "/models",
    "metadata": {"name": "Qwen3 4B", "license": "apache-2.0", "block_count": 36},
    "notes": "",
    "discovered_at": "2026-11-21T20:30:00Z",
    "updated_at": "2026-11-21T20:30:00Z",
    "servers": [{"node": "local", "replica": 0, "state": "ready", "port": 8080}],
    "versions": [version_schema.EXAMPLE],
}
_NOT_FOUND: Final = "Model not found: qwen4. Available: qwen3_4p0b_q4km_fast."

REGISTRY: Final = extend_schema(
    operation_id="get_registry",
    summary="The models that were found",
    description="All of them, unless parameters choose. With `page` or `page_size` it is a "
    "page of them, in the order of `models`. Other parameters are refused.",
    tags=TAGS,
    parameters=[RegistryQuerySerializer],
    responses={
        200: answer(
            RegistrySerializer,
            {
                "models": {_MODEL["model_id"]: _MODEL},
                "scan_path": "/models",
                "last_scan": "2026-11-21T20:30:00Z",
                "port_range": [8080, 8099],
                "tier_thresholds": {"powerful_min": 14.0, "fast_max": 7.0},
            },
        ),
        **errors(
            {
                400: "tier=huge: it is one of: fast, balanced, powerful.",
                404: "page=9: there are 3.",
            }
        ),
    },
)
MODEL: Final = extend_schema(
    operation_id="get_model",
    summary="One model",
    tags=TAGS,
    parameters=[MODEL_ID],
    responses={200: answer(FullModelSerializer, _FULL), **errors({404: _NOT_FOUND})},
)
TIER: Final = extend_schema(
    operation_id="list_tier",
    summary="The models of a tier",
    description="By the effective tier: a person's choice comes before what was assigned.",
    tags=TAGS,
    parameters=[
        OpenApiParameter(
            "tier", {"type": "string", "enum": Tier.values}, OpenApiParameter.PATH
        ),
        ModelQuerySerializer,
    ],
    responses={
        200: answer(RegisteredModelSerializer(many=True), _MODEL),
        **errors({400: "Invalid tier: huge. Must be one of: fast, balanced, powerful"}),
    },
)
