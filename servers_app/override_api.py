"""The calls by which a person decides about one model."""

from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_app.lookup import get_model
from models_app.models import Tier
from models_app.rules import override_thinking, override_tier
from profiles_app.api import author_of
from servers_app import override_schema
from servers_app.services import set_enabled

MAX_SHOWN_CHARS = 100


class TierOverrideView(APIView):
    """A tier of a person's choice; null has the rules assign it again."""

    scope = "manage"
    permission = "models_app.change_discoveredmodel"

    @override_schema.TIER
    def put(self, request: Request, model_id: str) -> Response:
        tier = _value(request, "tier", f"it is one of {', '.join(Tier.values)}, or null")
        if tier is not None and tier not in Tier.values:
            accepted = ", ".join(Tier.values)
            detail = f"Invalid tier: {_shown(tier)}. Must be one of: {accepted}"
            raise ValidationError({"detail": detail})
        model = override_tier(model_id, tier)
        is_override = tier is not None
        word = "updated" if is_override else "override taken off"
        return Response(
            {
                "message": f"Tier {word} for {model_id}",
                "model_id": model_id,
                "tier": model.tier or None,
                "override": is_override,
            }
        )


class ThinkingOverrideView(APIView):
    """Whether a model thinks, by a person's word; null has its name say so again."""

    scope = "manage"
    permission = "models_app.change_discoveredmodel"

    @override_schema.THINKING
    def put(self, request: Request, model_id: str) -> Response:
        what = "it is true, false or null"
        thinking = _value(request, "thinking", what)
        if not isinstance(thinking, bool | None):
            raise ValidationError({"detail": f"thinking: {what}."})
        model = override_thinking(model_id, thinking=thinking)
        is_override = thinking is not None
        word = "updated" if is_override else "override taken off"
        return Response(
            {
                "message": f"Thinking capability {word} for {model_id}",
                "model_id": model_id,
                "thinking": model.is_thinking,
                "override": is_override,
            }
        )


class EnabledView(APIView):
    """Enable a model in the active profile, or disable it."""

    scope = "manage"
    permission = "profiles_app.change_profile"

    @override_schema.ENABLED
    def put(self, request: Request, model_id: str) -> Response:
        enabled = _value(request, "enabled", "it is true or false")
        if not isinstance(enabled, bool):
            raise ValidationError({"detail": "enabled: it is true or false."})
        model = get_model(model_id)
        set_enabled([model], is_enabled=enabled, author=author_of(request))
        word = "enabled" if enabled else "disabled"
        message = f"Model {model_id} {word}"
        return Response({"message": message, "model_id": model_id, "enabled": enabled})


def _value(request: Request, name: str, what: str) -> Any:
    """Return what the body gives `name`, which it must have: null stands for something.

    Raises:
        ValidationError: the body is no object, or has no such key.
    """
    body = request.data
    if not isinstance(body, dict) or name not in body:
        raise ValidationError({"detail": f"{name}: {what}."})
    return body[name]


def _shown(value: object) -> str:
    """Return what was sent as an answer can have it: JSON may hold halves of characters."""
    return str(value)[:MAX_SHOWN_CHARS].encode(errors="replace").decode()
