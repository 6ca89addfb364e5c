"""What the call that copies a model takes and answers, for the OpenAPI document."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers

from models_app.api_schema import WAIT, answer, errors
from models_app.download_schema import (
    COPIED,
    COPYING,
    MAX_BYTES_PER_S,
    MAX_NODE_CHARS,
    MIN_BYTES_PER_S,
    TAGS,
    DownloadEndedSerializer,
    DownloadGoesOnSerializer,
)
from models_app.file_check_schema import MODEL_ID

_NAME: Final = r"^[A-Za-z0-9_.-]+\Z"
_NO_NAME: Final[dict[str, Any]] = {"invalid": "a node's name is of letters, digits, -, _ and ."}


class CopySerializer(serializers.Serializer[Any]):
    """Where a model is to be copied to."""

    node = serializers.RegexField(
        _NAME,
        max_length=MAX_NODE_CHARS,
        help_text="The machine that is to have it.",
        error_messages=_NO_NAME,
    )
    limit_bytes_per_s = serializers.IntegerField(
        min_value=MIN_BYTES_PER_S,
        max_value=MAX_BYTES_PER_S,
        allow_null=True,
        default=None,
        help_text="No more than so many, over all its files.",
    )

    def get_fields(self) -> dict[str, Any]:
        # By a name that is a word of Python's.
        source = serializers.RegexField(
            _NAME.replace("+", "*"),
            source="from_node",
            max_length=MAX_NODE_CHARS,
            allow_blank=True,
            default="",
            help_text="The machine that gives it; else the first that has it and answers.",
            error_messages=_NO_NAME,
        )
        return {**super().get_fields(), "from": source}


COPY: Final = extend_schema(
    operation_id="copy_model",
    summary="Copy a model to another node",
    description="All its shards with its projector, from a node that has them, each compared "
    "by its sha256. It is a download like any other: `status_url` follows it, it goes on where "
    "it stopped, and starts nothing.",
    tags=TAGS,
    parameters=[MODEL_ID, WAIT],
    request=CopySerializer,
    examples=[OpenApiExample("To node gpu2", value={"node": "gpu2"}, request_only=True)],
    responses={
        200: answer(DownloadEndedSerializer, COPIED),
        202: answer(DownloadGoesOnSerializer, COPYING, description="It goes on."),
        **errors(
            {
                400: "node: This field is required.",
                404: "Node not found: gpu9. Available: gpu1, gpu2.",
                409: "qwen3_4p0b_q4km_fast is on node gpu2 already. Nothing is copied.",
                502: "Qwen3-4B-Q4_K_M.gguf came with other bytes than node gpu1 tells of.",
                503: "No worker of node 'gpu2' answers. Start one (make run starts it).",
                507: "The disk that models are fetched onto is full. Free some of it.",
            }
        ),
    },
)
