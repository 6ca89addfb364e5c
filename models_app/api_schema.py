"""What every app's calls say of themselves in the same way: for the OpenAPI document.

magi_site/schema.py adds who may call, and the refusals that every call has.
"""

from collections.abc import Mapping
from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from rest_framework import serializers

JSON: Final = "application/json"
DEFAULT_WAIT_S: Final = 30
MAX_WAIT_S: Final = 600

WAIT: Final = OpenApiParameter(
    "wait",
    {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S, "default": DEFAULT_WAIT_S},
    description="How long to wait for a worker to be done, in seconds. What is not done by "
    "then is answered with 202, and goes on.",
)

_WORDS: Final = {
    400: "What was sent cannot be used.",
    404: "It is not there.",
    409: "Something is in the way.",
    413: "The body is too large.",
    502: "What was asked for was tried, and failed.",
    503: "A part that is needed is down.",
    504: "There was no answer in time.",
    507: "There is no room for it.",
}


class ErrorSerializer(serializers.Serializer[Any]):
    """Why a call was refused, or failed."""

    detail = serializers.CharField(help_text="What, which one, and what to do.")


class AcceptedSerializer(serializers.Serializer[Any]):
    """Work that goes on, and where to follow it."""

    message = serializers.CharField()
    task_id = serializers.UUIDField(
        allow_null=True, help_text="Null where the server itself is to be followed."
    )
    status_url = serializers.CharField(help_text="To be asked with GET.")


def errors(details: Mapping[int, str]) -> dict[tuple[int, str], OpenApiResponse]:
    """Return the responses of a call that fails, by status, from an example of each.

    They are JSON, also where a profile is YAML.
    """
    return {
        (status, JSON): OpenApiResponse(
            ErrorSerializer,
            description=_WORDS[status],
            examples=[OpenApiExample("Error", value={"detail": detail}, media_type=JSON)],
        )
        for status, detail in details.items()
    }


def answer(
    serializer: Any, example: object, *, description: str = "", media_type: str | None = None
) -> OpenApiResponse:
    """Return a response with an example of it."""
    return OpenApiResponse(
        serializer,
        description=description,
        examples=[OpenApiExample("Example", value=example, media_type=media_type)],
    )
