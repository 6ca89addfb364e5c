"""PROFILE for the OpenAPI document: what is sent, where it differs from what is answered.

What a request's schema says is necessary, and not always enough: that a parent, a preset
or an engine is there, and that two models have no alias in common, no schema can say.
"""

import json
from typing import Any, Final

from drf_spectacular.extensions import (
    OpenApiSerializerExtension,
    OpenApiSerializerFieldExtension,
)
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction, extend_schema_serializer
from rest_framework import serializers

from models_app.memory import CACHE_TYPES
from models_app.models import Tier
from profiles_app import runsettings
from profiles_app.aliases import MAX_ALIASES
from profiles_app.extraargs import MAX_EXTRA_ARG_CHARS, MAX_EXTRA_ARGS
from profiles_app.fields import MAX_NODES, RunSettingsField
from profiles_app.files import FileState
from profiles_app.models import MAX_REPLICAS
from profiles_app.serializers import (
    LifecycleSerializer,
    LoadBalancingSerializer,
    MemorySerializer,
    PlacementSerializer,
    QueueSerializer,
    RoutingSerializer,
    StrictSerializer,
    TierRuleSerializer,
    TwoStageSerializer,
)

Schema = dict[str, Any]

_NULL: Final[Schema] = {"type": "null"}
_NO_LIMIT: Final[Schema] = {"type": "string", "enum": ["inf", ".inf"]}
_NOTHING_CHANGES: Final[Schema] = {
    "description": "May be sent as GET gave it; it changes nothing."
}


class StrictSerializerExtension(OpenApiSerializerExtension):
    """Requests may have no other key; answers have all of them."""

    target_class = "profiles_app.serializers.StrictSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> Schema:
        schema: Schema = auto_schema._map_serializer(
            self.target, direction, bypass_extensions=True
        )
        target: StrictSerializer = self.target
        if type(target).__doc__ is None:  # that of its parent is not about it
            schema.pop("description", None)
        if direction == "response":
            return {**schema, "required": [*schema["properties"]]}
        ignored = {key: dict(_NOTHING_CHANGES) for key in target.ignored}
        properties = {**ignored, **schema["properties"]}
        return {**schema, "properties": properties, "additionalProperties": False}


class ProfileRequestExtension(StrictSerializerExtension):
    """A whole profile; its `enabled_models` may be said in `members`, too."""

    target_class = "profiles_app.serializers.ProfileSerializer"
    match_subclasses = False
    priority = 1

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> Schema:
        schema = super().map_serializer(auto_schema, direction)
        properties = schema["properties"]
        properties["version"] = {
            "type": ["integer", "null"],
            "description": "Of the profile that was changed, as GET gave it: if somebody has "
            "saved another one since, this is refused with 409.",
        }
        members = properties["enabled_models"]
        properties["members"] = {
            "type": "array",
            "items": members["items"],
            "description": "What a model of `enabled_models` is beside its id, as GET gives "
            "it; without `enabled_models`, the models themselves.",
        }
        return {
            **schema,
            "description": "A profile, or with PATCH what changes of one. What is not said "
            "is as the profile has it that it `extends`, or else the default.",
        }


class MemberExtension(StrictSerializerExtension):
    target_class = "profiles_app.serializers.MemberSerializer"
    match_subclasses = False
    priority = 1

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> Schema:
        schema = super().map_serializer(auto_schema, direction)
        model_id = {"type": "string", "minLength": 1, "maxLength": 200}
        about = schema.pop("description", "")
        return {"description": about, "anyOf": [model_id, schema]}


class LimitExtension(OpenApiSerializerFieldExtension):
    """No limit is null; a request may say `inf`, too."""

    target_class = "profiles_app.fields.ScoreLimitField"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> Schema:
        schema: Schema = auto_schema._map_serializer_field(
            self.target, direction, bypass_extensions=True
        )
        number: Schema = {key: schema[key] for key in ("minimum", "maximum") if key in schema}
        kind = "integer" if isinstance(self.target, serializers.IntegerField) else "number"
        options: list[Schema] = [{"type": kind, **number}, _NULL]
        if direction == "request":
            options.insert(1, _NO_LIMIT)
        about = self.target.help_text or "Null: no limit."
        return {"description": str(about), "anyOf": options}


class SecondsLimitExtension(LimitExtension):
    target_class = "profiles_app.fields.SecondsLimitField"


class EngineExtension(OpenApiSerializerFieldExtension):
    target_class = "profiles_app.fields.EngineField"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> Schema:
        return {
            "type": ["string", "null"] if direction == "request" else "string",
            "pattern": "^[-a-zA-Z0-9_]*$",
            "maxLength": 64,
            "description": "Which llama-server, by its name in LLAMA_SERVER_BUILDS; empty for "
            "the default.",
        }


class RunSettingsExtension(OpenApiSerializerFieldExtension):
    target_class = "profiles_app.fields.RunSettingsField"

    def get_name(self) -> str:
        return "RunSettings"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> Schema:
        return {
            "type": "object",
            "description": "llama-server's settings, only those that somebody set. Null takes "
            "off what a layer below says.",
            "properties": {name: _told(name, schema) for name, schema in RUN_SETTINGS.items()},
            "additionalProperties": False,
        }


# -- run settings: runsettings.FIELDS, as JSON Schema


def _told(name: str, schema: Schema) -> Schema:
    base = runsettings.FIELDS[name].base
    without = "llama-server's own" if base in (None, "auto") else json.dumps(base)
    return {"description": f"Where nobody sets it: {without}.", **schema}


def _whole(low: int, high: int, *words: str) -> Schema:
    number = {"type": "integer", "minimum": low, "maximum": high}
    named = [{"type": "string", "enum": [*words]}] if words else []
    return {"anyOf": [number, *named, _NULL]}


def _word(*words: str) -> Schema:
    return {"anyOf": [{"type": "string", "enum": [*words]}, _NULL]}


def _switch(*words: str) -> Schema:
    return {"anyOf": [{"type": "string", "enum": [*words]}, {"type": "boolean"}, _NULL]}


def _path(*words: str) -> Schema:
    named = [{"type": "string", "enum": [*words]}] if words else []
    return {"anyOf": [_GGUF, *named, _NULL]}


_GGUF: Final[Schema] = {
    "type": "string",
    "pattern": r"^/[\s\S]*\.[gG][gG][uU][fF]$",
    "maxLength": runsettings.MAX_PATH_CHARS,
}
_ADAPTER_PATH: Final = {**_GGUF, "pattern": r'^/[^,:"]*\.[gG][gG][uU][fF]$'}
_ADAPTER: Final[Schema] = {
    "type": "object",
    "properties": {
        "path": _ADAPTER_PATH,
        "scale": {"type": "number", "minimum": 0, "maximum": runsettings.MAX_SCALE},
    },
    "required": ["path"],
    "additionalProperties": False,
}
_TOKENS: Final = runsettings.MAX_TOKENS

RUN_SETTINGS: Final[dict[str, Schema]] = {
    "ctx_size": _whole(0, _TOKENS),
    "n_gpu_layers": _whole(0, runsettings.MAX_INT, "auto", "all"),
    "threads": _whole(1, runsettings.MAX_THREADS),
    "threads_batch": _whole(1, runsettings.MAX_THREADS),
    "batch_size": _whole(1, _TOKENS),
    "ubatch_size": _whole(1, _TOKENS),
    "parallel": _whole(1, runsettings.MAX_PARALLEL),
    "kv_unified": {"type": ["boolean", "null"]},
    "flash_attn": _switch("on", "off", "auto"),
    "cache_type_k": _word(*CACHE_TYPES),
    "cache_type_v": _word(*CACHE_TYPES),
    "load_mode": _word("auto", "none", "mmap", "mlock", "mmap+mlock", "dio"),
    "mmproj": _path("auto", "none"),
    "lora": {
        "type": ["array", "null"],
        "items": {"anyOf": [_ADAPTER_PATH, _ADAPTER]},
        "maxItems": runsettings.MAX_ADAPTERS,
    },
    "model_draft": _path(),
    "jinja": _switch("auto", "on", "off"),
    "extra_args": {
        "type": ["array", "null"],
        "items": {"type": "string", "maxLength": MAX_EXTRA_ARG_CHARS},
        "maxItems": MAX_EXTRA_ARGS,
    },
}


# -- what is answered


class MemberAnswerSerializer(serializers.Serializer[Any]):
    """A model of a profile, and what it is there."""

    model_id = serializers.CharField(max_length=200)
    tier = serializers.ChoiceField(
        Tier.choices, allow_null=True, help_text="In this profile; null: the model's own."
    )
    replicas = serializers.IntegerField(min_value=1, max_value=MAX_REPLICAS)
    aliases = serializers.ListField(child=serializers.CharField(), max_length=MAX_ALIASES)
    nodes = serializers.ListField(
        child=serializers.CharField(),
        max_length=MAX_NODES,
        help_text="Names of nodes that may run it; empty: those of the profile.",
    )
    run_settings = RunSettingsField()


@extend_schema_serializer(component_name="Profile")
class ProfileAnswerSerializer(serializers.Serializer[Any]):
    """What a profile comes to, every default in it."""

    name = serializers.CharField(max_length=100)
    description = serializers.CharField(allow_blank=True)
    extends = serializers.SlugField(
        allow_null=True, help_text="What this one does not say is as that profile has it."
    )
    enabled_models = serializers.ListField(
        child=serializers.CharField(), help_text="Ids, in the order of preference."
    )
    tier_config = TierRuleSerializer(many=True)
    two_stage = TwoStageSerializer()
    load_balancing = LoadBalancingSerializer()
    routing = RoutingSerializer()
    lifecycle = LifecycleSerializer()
    queue = QueueSerializer()
    memory = MemorySerializer()
    placement = PlacementSerializer()
    preset = serializers.SlugField(
        allow_null=True, help_text="Sampling preset of requests that name none."
    )
    engine = serializers.CharField(
        allow_blank=True,
        help_text="Which llama-server, by its name in LLAMA_SERVER_BUILDS; empty: the default.",
    )
    run_settings = RunSettingsField()
    members = MemberAnswerSerializer(
        many=True, help_text="`enabled_models`, with all that is said of each."
    )
    slug = serializers.SlugField(help_text="Its name in this API, and its file's.")
    is_active = serializers.BooleanField()
    version = serializers.IntegerField(
        min_value=0, help_text="One more with each change; send it to guard yours."
    )
    file_state = serializers.ChoiceField(
        FileState.choices, help_text="How it is to its YAML file."
    )


class CreatedProfileSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()
    name = serializers.SlugField(help_text="Its file stem: what it is called in this API.")


class FindingSerializer(serializers.Serializer[Any]):
    """Something to know of a profile."""

    is_error = serializers.BooleanField(help_text="An error stops its activation.")
    path = serializers.CharField(help_text="Where in the profile: enabled_models[1].")
    message = serializers.CharField()
    line = serializers.IntegerField(allow_null=True, help_text="Of its YAML.")


class ProfileValidationSerializer(serializers.Serializer[Any]):
    """What is wrong with a profile here and now, with its models, its engine, the memory."""

    valid = serializers.BooleanField(help_text="Whether it has no error.")
    missing_models = serializers.ListField(child=serializers.CharField())
    tier_mismatches = serializers.ListField(
        child=serializers.CharField(), help_text="Models of a tier without a rule."
    )
    warnings = serializers.ListField(child=serializers.CharField())
    errors = serializers.ListField(child=serializers.CharField())  # type: ignore[assignment]
    findings = FindingSerializer(many=True, help_text="All of them, in the YAML's order.")
    memory_mib = serializers.IntegerField(
        min_value=0, help_text="MiB that all its servers together take, estimated."
    )
