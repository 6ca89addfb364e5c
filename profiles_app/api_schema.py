"""What each call of the profiles takes and answers, for the OpenAPI document."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema

from models_app.api_schema import JSON, answer, errors
from profiles_app.profile_schema import (
    CreatedProfileSerializer,
    ProfileAnswerSerializer,
    ProfileValidationSerializer,
)
from profiles_app.serializers import ProfileSerializer
from profiles_app.yamlapi import YAML

TAGS: Final = ["Profiles"]

NAME: Final = OpenApiParameter(
    "name",
    {"type": "string", "minLength": 1},
    OpenApiParameter.PATH,
    description="Its file stem: `Fast Only` is `fast-only`.",
)
_AS_YAML: Final = OpenApiParameter(
    "format",
    {"type": "string", "enum": ["json", "yaml", ""]},
    description="What `Accept` says, for those who cannot send it.",
)
_YAML_TEXT: Final = {
    "type": "object",
    "description": "A profile's YAML file; `name`, `description` may stand under `profile:`.",
    "additionalProperties": True,
}
_FILE: Final[dict[str, Any]] = {
    "profile": {"name": "Night Shift", "description": "One small model"},
    "enabled_models": ["qwen3_4p0b_q4km_fast"],
    "tier_config": [{"name": "fast", "max_score": None, "expected_time_seconds": 2}],
    "load_balancing": {"enabled": False},
}
_NEW: Final[dict[str, Any]] = {
    "name": "Night Shift",
    "description": "One small model",
    "enabled_models": ["qwen3_4p0b_q4km_fast"],
    "tier_config": [{"name": "fast", "max_score": None, "expected_time_seconds": 2}],
    "load_balancing": {"enabled": False},
}
_PROFILE: Final[dict[str, Any]] = {
    **_NEW,
    "extends": None,
    "tier_config": [
        {"name": "fast", "max_score": None, "expected_time_seconds": 2, "description": ""}
    ],
    "two_stage": {
        "enabled": False,
        "stage1_tier": "balanced",
        "stage2_tier": "powerful",
        "stage1_max_tokens": 500,
    },
    "load_balancing": {
        "enabled": False,
        "strategy": "round_robin",
        "health_check_interval": 30,
    },
    "routing": {"cold_wait_seconds": 30, "classifier": "auto", "classifier_model": ""},
    "lifecycle": {
        "start": "activation",
        "idle_ttl_seconds": None,
        "drain_seconds": 30,
        "restart_policy": "unless-stopped",
    },
    "queue": {"limit": 64, "wait_seconds": 60},
    "memory": {"budget_mib": None, "eviction": "never"},
    "placement": {
        "rule": "spread",
        "nodes": [],
        "failover": False,
        "failover_after_seconds": 30,
    },
    "preset": None,
    "engine": "",
    "run_settings": {},
    "members": [
        {
            "model_id": "qwen3_4p0b_q4km_fast",
            "tier": None,
            "replicas": 1,
            "aliases": [],
            "nodes": [],
            "run_settings": {},
        }
    ],
    "slug": "night-shift",
    "is_active": False,
    "version": 1,
    "file_state": "no file",
}
_NOT_FOUND: Final = "Profile 'x' not found. Available: development, fast-only, production"
_INVALID: Final = 'tier_config[0].name: "slow" is not a valid choice.'
_CHANGED: Final = (
    "Profile 'night-shift' was changed meanwhile: admin saved version 4. Nothing of yours was "
    "saved: load it again and repeat your change."
)
_ANSWERS: Final = {
    (200, JSON): answer(ProfileAnswerSerializer, _PROFILE, media_type=JSON),
    (200, YAML): answer(_YAML_TEXT, _FILE, media_type=YAML),
}
_SENT: Final = [
    OpenApiExample("A profile", value=_NEW, request_only=True, media_type=JSON),
    OpenApiExample("Its file", value=_FILE, request_only=True, media_type=YAML),
]

LIST: Final = extend_schema(
    operation_id="list_profiles",
    summary="The names of all profiles",
    tags=TAGS,
    responses={
        200: answer(
            {"type": "array", "items": {"type": "string"}},
            ["development", "fast-only", "production"],
        )
    },
)
CREATE: Final = extend_schema(
    operation_id="create_profile",
    summary="Make a profile",
    description="It is named in the API by its file stem, which the answer has. Nothing runs "
    "by it before it is activated.",
    tags=TAGS,
    request={JSON: ProfileSerializer, YAML: _YAML_TEXT},
    examples=_SENT,
    responses={
        201: answer(
            CreatedProfileSerializer,
            {"message": "Profile 'Night Shift' created successfully", "name": "night-shift"},
        ),
        **errors(
            {
                400: _INVALID,
                409: "Profile 'night-shift' exists already. Choose another name, or change it.",
            }
        ),
    },
)
SHOW: Final = extend_schema(
    operation_id="get_profile",
    summary="A profile",
    tags=TAGS,
    parameters=[NAME, _AS_YAML],
    responses={**_ANSWERS, **errors({404: _NOT_FOUND})},
)
REPLACE: Final = extend_schema(
    operation_id="replace_profile",
    summary="Write a whole profile",
    description="What it does not say is as the profile it extends has it, or the default. "
    "YAML is kept letter by letter, with its comments.",
    tags=TAGS,
    parameters=[NAME, _AS_YAML],
    request={JSON: ProfileSerializer, YAML: _YAML_TEXT},
    examples=_SENT,
    responses={**_ANSWERS, **errors({400: _INVALID, 404: _NOT_FOUND, 409: _CHANGED})},
)
CHANGE: Final = extend_schema(
    operation_id="change_profile",
    summary="Change some of a profile",
    description="Of a section, such as `queue`, only the keys that are sent; a list as a "
    "whole.",
    tags=TAGS,
    parameters=[NAME, _AS_YAML],
    request={JSON: ProfileSerializer(partial=True)},
    examples=[
        OpenApiExample("A longer queue", value={"queue": {"limit": 128}}, request_only=True)
    ],
    responses={**_ANSWERS, **errors({400: _INVALID, 404: _NOT_FOUND, 409: _CHANGED})},
)
DELETE: Final = extend_schema(
    operation_id="delete_profile",
    summary="Delete a profile",
    description="Its versions stay: `manage.py profiles rollback` brings it back.",
    tags=TAGS,
    parameters=[NAME],
    responses={
        204: None,
        **errors(
            {
                404: _NOT_FOUND,
                409: "Profile 'production' is active. Activate another one, then delete it.",
            }
        ),
    },
)
VALIDATE: Final = extend_schema(
    operation_id="validate_profile",
    summary="What is wrong with a profile, here and now",
    tags=TAGS,
    parameters=[NAME],
    responses={
        200: answer(
            ProfileValidationSerializer,
            {
                "valid": False,
                "missing_models": ["qwen3_4p0b_q4km_fast"],
                "tier_mismatches": [],
                "warnings": [],
                "errors": [
                    "line 7: enabled_models[0]: No model here has the id qwen3_4p0b_q4km_fast. "
                    "`manage.py models list` shows those there are."
                ],
                "findings": [
                    {
                        "is_error": True,
                        "path": "enabled_models[0]",
                        "message": "No model here has the id qwen3_4p0b_q4km_fast. "
                        "`manage.py models list` shows those there are.",
                        "line": 7,
                    }
                ],
                "memory_mib": 0,
            },
        ),
        **errors({404: _NOT_FOUND}),
    },
)
ACTIVE: Final = extend_schema(
    operation_id="get_active_profile",
    summary="The active profile",
    tags=TAGS,
    parameters=[_AS_YAML],
    responses={
        **_ANSWERS,
        **errors({404: "No profile is active. Activate one of: development, production"}),
    },
)
