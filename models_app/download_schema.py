"""What the calls for downloads take and answer, for the OpenAPI document."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers

from models_app.api_schema import WAIT, AcceptedSerializer, answer, errors
from models_app.download_models import HUBS, DownloadSource, DownloadState
from models_app.query_params import Choice, Text, WholeNumber

TAGS: Final = ["Model manager"]
DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 500
MAX_ID: Final = 2**63 - 1
MIN_BYTES_PER_S: Final = 1024
MAX_BYTES_PER_S: Final = 10**12
MAX_NODE_CHARS: Final = 100
UNDER_WAY_WORD: Final = "under_way"


class ListQuerySerializer(serializers.Serializer[Any]):
    """Which downloads are listed."""

    state = Choice([UNDER_WAY_WORD, *DownloadState.values], required=False)
    node = Text(MAX_NODE_CHARS, required=False)
    limit = WholeNumber(1, MAX_LIMIT, required=False)


class PullSerializer(serializers.Serializer[Any]):
    """What is to be fetched."""

    reference = serializers.CharField(
        max_length=300, help_text="`org/repo`, `org/repo:QUANT`, or Ollama's `name:tag`."
    )
    source = serializers.ChoiceField(  # type: ignore[assignment]  # a field of that name
        HUBS,
        allow_blank=True,
        default="",
        help_text="`hub` or `ollama`; without it, a reference with a `/` is the hub's.",
        error_messages={"invalid_choice": "it is hub or ollama, or left out."},
    )
    node = serializers.RegexField(
        r"^[A-Za-z0-9_.-]*\Z",
        max_length=MAX_NODE_CHARS,
        allow_blank=True,
        default="",
        help_text="The machine that it is fetched onto; without it, the one that answers.",
        error_messages={"invalid": "a node's name is of letters, digits, -, _ and ."},
    )
    revision = serializers.CharField(
        max_length=100, allow_blank=True, default="", help_text="A branch, a tag or a commit."
    )
    limit_bytes_per_s = serializers.IntegerField(
        min_value=MIN_BYTES_PER_S,
        max_value=MAX_BYTES_PER_S,
        allow_null=True,
        default=None,
        help_text="No more than so many, over all its files.",
    )


class DownloadedFileSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    size_bytes = serializers.IntegerField()
    done_bytes = serializers.IntegerField()
    sha256 = serializers.CharField(help_text="Empty for a small file of the repo itself.")


class DownloadSerializer(serializers.Serializer[Any]):
    """A model that is fetched onto a node: all its shards, with its projector."""

    id = serializers.IntegerField()
    node = serializers.CharField()
    source = serializers.ChoiceField(  # type: ignore[assignment]  # a field of that name
        DownloadSource.choices
    )
    reference = serializers.CharField(help_text="Of a copy: the id of the model.")
    from_node = serializers.CharField(
        help_text="Of a copy: the machine that gives the files; else empty."
    )
    revision = serializers.CharField(help_text="As it was asked for; empty: the main branch.")
    commit = serializers.CharField(help_text="That it came to; empty until the hub was asked.")
    state = serializers.ChoiceField(DownloadState.choices)
    files = DownloadedFileSerializer(many=True)
    total_bytes = serializers.IntegerField(allow_null=True)
    done_bytes = serializers.IntegerField()
    percent = serializers.IntegerField(allow_null=True)
    bytes_per_s = serializers.FloatField(allow_null=True, help_text="Of late.")
    eta_seconds = serializers.FloatField(allow_null=True)
    limit_bytes_per_s = serializers.IntegerField(allow_null=True)
    error = serializers.CharField(help_text="Why it failed, and what to do.")
    error_code = serializers.CharField(help_text="A word for programs, such as disk_full.")
    model_id = serializers.CharField(
        allow_null=True,
        help_text="That it was registered as, or is a copy of. It is not enabled by that.",
    )
    asked_by = serializers.CharField()
    asked_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class DownloadEndedSerializer(DownloadSerializer):
    """A download that has ended."""

    message = serializers.CharField()


class DownloadGoesOnSerializer(AcceptedSerializer, DownloadSerializer):
    """A download that goes on, and where to follow it."""


class DownloadListSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField(help_text="How many there are like that.")
    downloads = DownloadSerializer(many=True)


_COMMIT: Final = "22a880cf3e0b2d9e4b7a3d2e3d0f6a1b5c4d3e2f"
_FILE: Final[dict[str, Any]] = {
    "name": "Qwen3-4B-Q4_K_M.gguf",
    "size_bytes": 2497281312,
    "done_bytes": 998912512,
    "sha256": "f6f851777709861056efcdad3af01da38b31223a3ba26e61a4f8bf3a2195813a",
}
_RUNNING: Final[dict[str, Any]] = {
    "id": 3,
    "node": "local",
    "source": "hub",
    "reference": "unsloth/Qwen3-4B-GGUF:Q4_K_M",
    "from_node": "",
    "revision": "",
    "commit": _COMMIT,
    "state": "running",
    "files": [_FILE],
    "total_bytes": 2497281312,
    "done_bytes": 998912512,
    "percent": 40,
    "bytes_per_s": 41943040.0,
    "eta_seconds": 35.7,
    "limit_bytes_per_s": None,
    "error": "",
    "error_code": "",
    "model_id": None,
    "asked_by": "admin",
    "asked_at": "2026-11-21T20:30:00+00:00",
    "started_at": "2026-11-21T20:30:00+00:00",
    "finished_at": None,
}
_FINISHED: Final = {
    **_RUNNING,
    "state": "finished",
    "files": [{**_FILE, "done_bytes": 2497281312}],
    "done_bytes": 2497281312,
    "percent": 100,
    "bytes_per_s": None,
    "eta_seconds": None,
    "model_id": "qwen3_4p0b_q4km_fast",
    "finished_at": "2026-11-21T20:31:00+00:00",
}
_GOES_ON: Final = {
    "message": "The download of unsloth/Qwen3-4B-GGUF:Q4_K_M goes on",
    "task_id": None,
    "status_url": "/api/models/downloads/3",
    **_RUNNING,
}
_OF_A_COPY: Final = {
    "node": "gpu2",
    "source": "node",
    "reference": "qwen3_4p0b_q4km_fast",
    "from_node": "gpu1",
    "model_id": "qwen3_4p0b_q4km_fast",
}
COPYING: Final = {
    **_GOES_ON,
    **_OF_A_COPY,
    "message": "The copy of qwen3_4p0b_q4km_fast to node gpu2 goes on",
}
COPIED: Final = {
    "message": "qwen3_4p0b_q4km_fast is on node gpu2, not started",
    **_FINISHED,
    **_OF_A_COPY,
}
_NO_WAIT: Final = "wait=soon is not a number from 0 to 600."
_NOT_FOUND: Final = "Download not found: 9. GET /api/models/downloads lists them."

LIST: Final = extend_schema(
    operation_id="list_downloads",
    summary="What was fetched, and is being fetched",
    description="The newest first. `state=under_way` has those that are queued or at work.",
    tags=TAGS,
    parameters=[ListQuerySerializer],
    responses={
        200: answer(DownloadListSerializer, {"count": 1, "downloads": [_RUNNING]}),
        **errors({400: "state=done: it is one of: under_way, queued, running, …"}),
    },
)
PULL: Final = extend_schema(
    operation_id="pull_model",
    summary="Fetch a model",
    description="All its shards with the matching projector, into the standard cache of the "
    "node. It is registered when it is there, and enabled by nobody but you. One that is under "
    "way already is followed; one that failed or was cancelled goes on where it stopped.",
    tags=TAGS,
    parameters=[WAIT],
    request=PullSerializer,
    examples=[
        OpenApiExample(
            "From the hub",
            value={"reference": "unsloth/Qwen3-4B-GGUF:Q4_K_M"},
            request_only=True,
        )
    ],
    responses={
        200: answer(
            DownloadEndedSerializer,
            {
                "message": "unsloth/Qwen3-4B-GGUF:Q4_K_M is here, registered as "
                "qwen3_4p0b_q4km_fast, not enabled by that",
                **_FINISHED,
            },
        ),
        202: answer(DownloadGoesOnSerializer, _GOES_ON, description="It goes on."),
        **errors(
            {
                400: "'../x' is no model to fetch: it is a path. Give org/repo:QUANT.",
                404: "unsloth/Qwen3-4B-GGUF has no Q9_K. It has Q4_K_M, Q8_0.",
                409: "org/name is gated. Accept its licence, set HF_TOKEN, and ask again.",
                502: "Qwen3-4B-Q4_K_M.gguf came with other bytes than its hub tells of.",
                503: "No worker of node 'local' answers. Start one (make run starts it).",
                507: "The disk that models are fetched onto is full. Free some of it.",
            }
        ),
    },
)
SHOW: Final = extend_schema(
    operation_id="get_download",
    summary="One download",
    description="How far it is, at which rate, and what of each file is there.",
    tags=TAGS,
    responses={200: answer(DownloadSerializer, _RUNNING), **errors({404: _NOT_FOUND})},
)
CANCEL: Final = extend_schema(
    operation_id="cancel_download",
    summary="Cancel a download",
    description="Its worker stops within a second. What came stays: the next download of the "
    "same goes on from there. One that has ended is left as it is.",
    tags=TAGS,
    parameters=[WAIT],
    request=None,
    responses={
        200: answer(
            DownloadEndedSerializer,
            {
                "message": "The download of unsloth/Qwen3-4B-GGUF:Q4_K_M is cancelled",
                **_RUNNING,
                "state": "cancelled",
            },
        ),
        202: answer(DownloadGoesOnSerializer, _GOES_ON, description="It goes on."),
        **errors({400: _NO_WAIT, 404: _NOT_FOUND}),
    },
)
