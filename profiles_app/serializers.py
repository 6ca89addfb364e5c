"""PROFILE, as the API and the YAML files have it: shapes, bounds and defaults.

The defaults are the guide's, and for what that does not have the database's.
"""

import copy
import difflib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.utils.text import slugify
from rest_framework import serializers
from rest_framework.settings import api_settings

from models_app.models import Tier
from profiles_app.aliases import MAX_ALIASES, clashes
from profiles_app.document import Document
from profiles_app.fields import (
    AliasField,
    EngineField,
    FiniteFloatField,
    ModelIdField,
    NameField,
    NodesField,
    OneOfField,
    RunSettingsField,
    ScoreLimitField,
    SecondsLimitField,
    TextField,
    TruthField,
    WholeNumberField,
    is_text,
)
from profiles_app.models import (
    MAX_REPLICAS,
    Classifier,
    Eviction,
    Placement,
    RestartPolicy,
    Start,
    Strategy,
)

MAX_INTEGER = 2**31 - 1  # what a PositiveIntegerField holds
MAX_MODELS = 1000
MIN_FAILOVER_S = 20  # a node that has been silent for less is not lost

DEFAULT_TIERS: tuple[dict[str, Any], ...] = (
    {"name": Tier.FAST, "max_score": 3.0, "expected_time_seconds": 2},
    {"name": Tier.BALANCED, "max_score": 7.0, "expected_time_seconds": 5},
    {"name": Tier.POWERFUL, "max_score": None, "expected_time_seconds": 15},
)


class StrictSerializer(serializers.Serializer[Any]):
    """A mapping in which an unknown key is an error: a typing error would else do nothing."""

    ignored: tuple[str, ...] = ()  # keys that an answer has and a request need not drop

    def to_internal_value(self, data: Any) -> Any:
        unknown = {}
        if isinstance(data, Mapping):
            unknown = {
                key: _unknown(str(key), self.fields) for key in data if not self._has(key)
            }
        try:
            values = super().to_internal_value(data)
        except serializers.ValidationError as error:
            if unknown and isinstance(error.detail, dict):
                raise serializers.ValidationError({**error.detail, **unknown}) from error
            raise
        if unknown:
            raise serializers.ValidationError(unknown)
        return values

    def _has(self, key: object) -> bool:
        return key in self.fields or key in self.ignored


def _unknown(key: str, known: Mapping[str, Any]) -> list[str]:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
    return [f"Unknown; {hint}"]


class TierRuleSerializer(StrictSerializer):
    name = OneOfField(Tier)
    max_score = ScoreLimitField(allow_null=True, default=None, min_value=0, max_value=1e9)
    expected_time_seconds = FiniteFloatField(default=5, min_value=0, max_value=1e9)
    description = TextField(default="", allow_blank=True, max_length=200)


class TwoStageSerializer(StrictSerializer):
    enabled = TruthField(default=False)
    stage1_tier = OneOfField(Tier, default=Tier.BALANCED.value)
    stage2_tier = OneOfField(Tier, default=Tier.POWERFUL.value)
    stage1_max_tokens = WholeNumberField(default=500, min_value=1, max_value=MAX_INTEGER)


class LoadBalancingSerializer(StrictSerializer):
    enabled = TruthField(default=True)
    strategy = OneOfField(Strategy, default=Strategy.ROUND_ROBIN.value)
    health_check_interval = WholeNumberField(
        default=30, min_value=1, max_value=MAX_INTEGER, help_text="Seconds."
    )


class RoutingSerializer(StrictSerializer):
    cold_wait_seconds = SecondsLimitField(
        default=30, allow_null=True, min_value=0, max_value=86_400
    )
    classifier = OneOfField(Classifier, default=Classifier.AUTO.value)
    classifier_model = ModelIdField()


class LifecycleSerializer(StrictSerializer):
    start = OneOfField(Start, default=Start.ACTIVATION.value)
    idle_ttl_seconds = WholeNumberField(
        default=None, allow_null=True, min_value=1, max_value=MAX_INTEGER
    )
    drain_seconds = WholeNumberField(default=30, min_value=0, max_value=86_400)
    restart_policy = OneOfField(RestartPolicy, default=RestartPolicy.UNLESS_STOPPED.value)


class QueueSerializer(StrictSerializer):
    limit = WholeNumberField(default=64, min_value=0, max_value=100_000)
    wait_seconds = WholeNumberField(default=60, min_value=0, max_value=86_400)


class MemorySerializer(StrictSerializer):
    budget_mib = WholeNumberField(
        default=None, allow_null=True, min_value=1, max_value=MAX_INTEGER
    )
    eviction = OneOfField(Eviction, default=Eviction.NEVER.value)


class PlacementSerializer(StrictSerializer):
    rule = OneOfField(Placement, default=Placement.SPREAD.value)
    nodes = NodesField(help_text="The first ones first. Empty: every node.")
    failover = TruthField(default=False)
    failover_after_seconds = WholeNumberField(
        default=30, min_value=MIN_FAILOVER_S, max_value=86_400
    )


class MemberSerializer(StrictSerializer):
    """A model of a profile: its id alone, or a mapping."""

    model_id = TextField(max_length=200)
    tier = OneOfField(Tier, allow_null=True, default=None)
    replicas = WholeNumberField(default=1, min_value=1, max_value=MAX_REPLICAS)
    aliases = serializers.ListField(child=AliasField(), default=list, max_length=MAX_ALIASES)
    nodes = NodesField(help_text="Those that may run it. Empty: the profile's.")
    run_settings = RunSettingsField(default=dict)

    def to_internal_value(self, data: Any) -> Any:
        if is_text(self, data):
            data = {"model_id": str(data)}
        values = super().to_internal_value(data)
        plain: dict[str, Any] = {
            "tier": None, "replicas": 1, "aliases": [], "nodes": [], "run_settings": {},
        }  # fmt: skip
        said = {key: value for key, value in values.items() if plain.get(key) != value}
        return values["model_id"] if set(said) == {"model_id"} else said


class ProfileSerializer(StrictSerializer):
    """A whole profile; `validated_data` is a document with every default filled in."""

    ignored = ("slug", "is_active", "version", "file_state", "created_at", "updated_at")

    name = TextField(max_length=100)
    description = TextField(default="", allow_blank=True, max_length=5000, is_long=True)
    extends = NameField(max_length=100, allow_null=True, default=None)
    enabled_models = MemberSerializer(many=True, default=list)
    tier_config: serializers.ListSerializer[Any] = serializers.ListSerializer(
        child=TierRuleSerializer(), default=None, allow_null=True
    )
    two_stage = TwoStageSerializer(default=None, allow_null=True)
    load_balancing = LoadBalancingSerializer(default=None, allow_null=True)
    routing = RoutingSerializer(default=None, allow_null=True)
    lifecycle = LifecycleSerializer(default=None, allow_null=True)
    queue = QueueSerializer(default=None, allow_null=True)
    memory = MemorySerializer(default=None, allow_null=True)
    placement = PlacementSerializer(default=None, allow_null=True)
    preset = NameField(max_length=64, allow_null=True, default=None)
    engine = EngineField()
    run_settings = RunSettingsField(default=dict)

    def validate_name(self, value: str) -> str:
        if not slugify(value):
            msg = "A name needs a letter or a digit: its file is named after it."
            raise serializers.ValidationError(msg)
        if "/" in value or "\\" in value or value.startswith("."):
            msg = "A name has no slash, no backslash and no dot in front: it is no path."
            raise serializers.ValidationError(msg)
        return value

    def validate_tier_config(self, value: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
        if value is None:
            return [_filled(TierRuleSerializer(), tier) for tier in DEFAULT_TIERS]
        names = [tier["name"] for tier in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            msg = f"A tier stands there twice: {', '.join(twice)}."
            raise serializers.ValidationError(msg)
        return [dict(tier) for tier in value]

    def validate_enabled_models(self, value: list[Any]) -> list[Any]:
        if len(value) > MAX_MODELS:
            msg = f"A profile enables at most {MAX_MODELS:,} models."
            raise serializers.ValidationError(msg)
        members: dict[str, Any] = {}
        for member in value:
            model_id = member if isinstance(member, str) else member["model_id"]
            if members.setdefault(model_id, member) != member:
                msg = f"{model_id} stands there twice, with different settings."
                raise serializers.ValidationError(msg)
        _refuse_clashes(value, members)
        return list(members.values())

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        for name, field in self.fields.items():
            if isinstance(field, StrictSerializer):
                attrs[name] = _filled(field, attrs[name] or {})
        return attrs


def defaults() -> Document:
    """Return what a profile is of which nothing but a name is said."""
    return copy.deepcopy(_defaults())


@functools.cache
def _defaults() -> Document:
    serializer = ProfileSerializer(data={"name": "x"})
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def problems_of(errors: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, str]]:
    """Yield path and sentence of each of DRF's nested errors."""
    if isinstance(errors, Mapping):
        for key, value in errors.items():
            is_here = key == api_settings.NON_FIELD_ERRORS_KEY
            yield from problems_of(value, path if is_here else (*path, key))
    elif isinstance(errors, list | tuple):
        for index, value in enumerate(errors):
            # A list of mappings has one for each item, empty for those that are right.
            here = (*path, index) if isinstance(value, Mapping | list) else path
            yield from problems_of(value, here)
    else:
        yield path, str(errors)


def _refuse_clashes(value: Sequence[Any], members: Mapping[str, Any]) -> None:
    aliases = {
        model_id: [] if isinstance(member, str) else member.get("aliases", [])
        for model_id, member in members.items()
    }
    found: list[dict[str, list[str]]] = [{} for _ in value]
    for model_id, sentence in clashes(aliases):
        place = value.index(members[model_id])
        found[place].setdefault("aliases", []).append(sentence)
    if any(found):
        raise serializers.ValidationError(found)


def _filled(serializer: serializers.Serializer[Any], values: Mapping[str, Any]) -> Document:
    return {
        name: values[name]
        if name in values
        else (field.default() if callable(field.default) else field.default)
        for name, field in serializer.fields.items()
    }
