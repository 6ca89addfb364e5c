"""What the calls that look at a model's files take and answer, for the OpenAPI document."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers

from models_app.api_schema import WAIT, AcceptedSerializer, answer, errors
from models_app.hub_check import UNKNOWN
from models_app.version_models import HubState

TAGS: Final = ["Model manager"]
MODEL_ID: Final = OpenApiParameter(
    "model_id",
    {"type": "string", "minLength": 1},
    OpenApiParameter.PATH,
    description="Of the registry: lower-case letters, digits and `_`.",
)
NODE: Final = OpenApiParameter(
    "node",
    {"type": "string", "maxLength": 100},
    description="The node whose files are read. Without it the model's home.",
)


class VerifiedFileSerializer(serializers.Serializer[Any]):
    file = serializers.CharField()
    sha256 = serializers.CharField()
    expected = serializers.CharField(
        allow_null=True, help_text="Null: nothing says what it should be."
    )
    is_sound = serializers.BooleanField(allow_null=True)


class VerifiedSerializer(serializers.Serializer[Any]):
    """What became of the files of a model that were read."""

    message = serializers.CharField()
    model_id = serializers.CharField()
    is_sound = serializers.BooleanField(allow_null=True, help_text="Null: nobody knows.")
    verified_at = serializers.DateTimeField()
    files = VerifiedFileSerializer(many=True)


class HubCheckSerializer(serializers.Serializer[Any]):
    """How the files of a model stand to those of its hub."""

    message = serializers.CharField(help_text="What is the case, and what to do.")
    model_id = serializers.CharField()
    state = serializers.ChoiceField([*HubState.values, UNKNOWN])
    revision = serializers.CharField(help_text="The commit that is here; empty if unknown.")
    hub_commit = serializers.CharField(help_text="The hub's; empty where there is none.")
    checked_at = serializers.DateTimeField()
    pull = serializers.CharField(help_text="What a download takes to have the hub's.")


_ID: Final = "qwen3_4p0b_q4km_fast"
_FILE: Final = "Qwen3-4B-Q4_K_M.gguf"
_SHA256: Final = "f6f851777709861056efcdad3af01da38b31223a3ba26e61a4f8bf3a2195813a"
_COMMIT: Final = "22a880cf3e0b2d9e4b7a3d2e3d0f6a1b5c4d3e2f"
_TASK_ID: Final = "11111111-2222-3333-4444-555555555555"
_NOT_FOUND: Final = f"Model not found: qwen4. Available: {_ID}."
_NO_WORKER: Final = "No worker of node 'local' answers. Start one (make run starts it)."


def _accepted(what: str) -> Any:
    return answer(
        AcceptedSerializer,
        {
            "message": f"The {what} of {_ID} has been queued",
            "task_id": _TASK_ID,
            "status_url": f"/api/tasks/{_TASK_ID}",
        },
        description="It goes on.",
    )


VERIFY: Final = extend_schema(
    operation_id="verify_model",
    summary="Read every byte of a model",
    description="The worker of the model's node compares the hash of each file with its blob's "
    "name, or with what it was when it was read before, and keeps the verdict with the "
    "model's current version. Of a copy, the verdict stays with the copy: one that is not "
    "what it should be is not launched.",
    tags=TAGS,
    parameters=[MODEL_ID, NODE, WAIT],
    request=None,
    responses={
        200: answer(
            VerifiedSerializer,
            {
                "message": "Sound: every byte is what it should be.",
                "model_id": _ID,
                "is_sound": True,
                "verified_at": "2026-11-21T20:30:00+00:00",
                "files": [
                    {"file": _FILE, "sha256": _SHA256, "expected": _SHA256, "is_sound": True}
                ],
            },
        ),
        202: _accepted("verification"),
        **errors(
            {
                400: "wait=soon is not a number from 0 to 600.",
                404: _NOT_FOUND,
                409: f"The files of {_ID} have changed since they were scanned. Rescan first.",
                502: f"The files of {_ID} cannot be read: a file is missing.",
                503: _NO_WORKER,
            }
        ),
    },
)
CHECK: Final = extend_schema(
    operation_id="check_model",
    summary="Compare a model with its hub",
    description="Asks the hub which commit it has, and the hashes of the model's files there. "
    "Nothing is fetched. `same`, `other` (the hub has another version), `gone` (it has it no "
    "longer), or `unknown` (nobody can say; `message` says what would help).",
    tags=TAGS,
    parameters=[MODEL_ID, WAIT],
    request=None,
    responses={
        200: answer(
            HubCheckSerializer,
            {
                "message": "As on the hub, byte by byte.",
                "model_id": _ID,
                "state": "same",
                "revision": _COMMIT,
                "hub_commit": _COMMIT,
                "checked_at": "2026-11-21T20:30:00+00:00",
                "pull": "",
            },
        ),
        202: _accepted("check"),
        **errors(
            {
                400: "wait=soon is not a number from 0 to 600.",
                404: _NOT_FOUND,
                409: "org/name is gated. Accept its licence, set HF_TOKEN, and ask again.",
                502: "The check failed; the worker's log says why.",
                503: _NO_WORKER,
            }
        ),
    },
)
