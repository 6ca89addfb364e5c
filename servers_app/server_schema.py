"""What each call of the servers takes and answers, for the OpenAPI document."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers

from models_app.api_schema import WAIT, AcceptedSerializer, answer, errors
from models_app.errors import NoWorkerError
from profiles_app.fields import WholeNumberField
from profiles_app.models import MAX_REPLICAS
from profiles_app.serializers import StrictSerializer
from servers_app.serializers import ServerDetailSerializer, ServerSerializer

TAGS: Final = ["Servers"]

MODEL_ID: Final = OpenApiParameter(
    "model_id",
    {"type": "string", "minLength": 1},
    OpenApiParameter.PATH,
    description="Of the registry.",
)
REPLICA: Final = OpenApiParameter(
    "replica",
    {"type": "integer", "minimum": 0, "maximum": MAX_REPLICAS - 1, "default": 0},
    description="Which of several servers of the model, counted from 0.",
)
_AT_ONCE: Final = OpenApiParameter(
    "at_once",
    {"type": "boolean", "default": False},
    description="Without waiting for requests in flight. The body may say it, too.",
)
_ALL: Final = OpenApiParameter(
    "all",
    {"type": "boolean", "default": False},
    description="Those that are stopped, and are to be, too.",
)
_NODE: Final = OpenApiParameter("node", str, description="Only the servers of this machine.")
_ON: Final = OpenApiParameter(
    "node",
    {"type": "string", "maxLength": 100},
    description="On which node: where it is to be started; otherwise which one is meant, of a "
    "replica that has been on several. Without it, the one that runs, or where the active "
    "profile's placement has it.",
)


# -- what is answered


class ServerListSerializer(serializers.Serializer[Any]):
    total_servers = serializers.IntegerField(min_value=0)
    ready_servers = serializers.IntegerField(min_value=0)
    servers = ServerSerializer(many=True)


class _NamedServerSerializer(serializers.Serializer[Any]):
    model_id = serializers.CharField()
    display_name = serializers.CharField()
    replica = serializers.IntegerField(min_value=0, max_value=MAX_REPLICAS - 1)


class StartedServerSerializer(_NamedServerSerializer):
    """A server that answers."""

    message = serializers.CharField()
    node = serializers.CharField()
    port = serializers.IntegerField()
    status = serializers.ChoiceField(["started", "already_running"])
    startup_time_seconds = serializers.FloatField(
        min_value=0, help_text="0 for one that ran already."
    )


class StoppedServerSerializer(_NamedServerSerializer):
    """A server that has no process any more."""

    message = serializers.CharField()
    node = serializers.CharField()
    status = serializers.ChoiceField(["stopped", "not_running"])
    shutdown_time_seconds = serializers.FloatField(min_value=0)


class AcceptedServerSerializer(AcceptedSerializer, ServerSerializer):
    """A server that is on its way; `status_url` tells how far."""

    class Meta(ServerSerializer.Meta):
        fields = ("message", "task_id", "status_url", *ServerSerializer.Meta.fields)


class ServerDoneSerializer(_NamedServerSerializer):
    """One of many for which it is done."""

    port = serializers.IntegerField(allow_null=True)


class ServerNotDoneSerializer(serializers.Serializer[Any]):
    """One of many for which it cannot be done, and why."""

    model_id = serializers.CharField()
    display_name = serializers.CharField(required=False, help_text="Not of an unknown model.")
    replica = serializers.IntegerField(required=False, min_value=0, max_value=MAX_REPLICAS - 1)
    detail = serializers.CharField()


class _AllSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()
    total = serializers.IntegerField(min_value=0)
    startup_time_seconds = serializers.FloatField(min_value=0)
    models = ServerDoneSerializer(many=True)
    failed = ServerNotDoneSerializer(many=True)


class AllStartedSerializer(_AllSerializer):
    started = serializers.IntegerField(min_value=0)


class AllStoppedSerializer(_AllSerializer):
    stopped = serializers.IntegerField(min_value=0)
    shutdown_time_seconds = serializers.FloatField(min_value=0)


class AllAcceptedStartSerializer(AcceptedSerializer, AllStartedSerializer):
    """Some are on their way still."""


class AllAcceptedStopSerializer(AcceptedSerializer, AllStoppedSerializer):
    """Some are on their way still."""


class MoveSerializer(StrictSerializer):
    """Which replica goes where."""

    replica = WholeNumberField(default=0, min_value=0, max_value=MAX_REPLICAS - 1)
    to = serializers.RegexField(
        r"^[A-Za-z0-9_.-]*\Z",
        default="",
        allow_blank=True,
        max_length=100,
        error_messages={"invalid": "a node's name is of letters, digits, -, _ and ."},
        help_text="The name of a node; empty: where the active profile's placement has it.",
    )


class AtOnceSerializer(serializers.Serializer[Any]):
    at_once = serializers.BooleanField(
        default=False, help_text="Without waiting for requests in flight."
    )


# -- examples

_NAMES: Final = {
    "model_id": "qwen3_4p0b_q4km_fast",
    "display_name": "QWEN3 4B Q4_K_M",
    "replica": 0,
}
_SERVER: Final[dict[str, Any]] = {
    **_NAMES,
    "node": "local",
    "port": 8080,
    "pid": 41872,
    "is_ready": True,
    "is_running": True,
    "is_reachable": True,
    "unreachable_since": None,
    "uptime_seconds": 754,
    "wanted": "running",
    "state": "ready",
    "on_request": False,
    "note": "",
    "load_progress": 1.0,
    "engine": "embedded llama.cpp",
    "build": "b11549",
    "memory_mib": 4210,
    "restarts": 0,
    "last_error": None,
}
_LOADING: Final = {
    **_SERVER,
    "pid": 41990,
    "is_ready": False,
    "uptime_seconds": 3,
    "state": "starting",
    "load_progress": 0.4,
}
_DETAIL: Final[dict[str, Any]] = {
    **_SERVER,
    "asked_by": "admin",
    "asked_why": "by the API",
    "argv": ["--model", "/models/qwen3-4b-q4_k_m.gguf", "--port", "8080"],
    "facts": {"n_ctx": 32768, "total_slots": 1},
    "peak_mib": 4377,
    "exit_code": None,
    "requested_at": "2026-01-05T09:30:00.120000Z",
    "launched_at": "2026-01-05T09:30:00.310000Z",
    "ready_at": "2026-01-05T09:30:04.020000Z",
    "state_since": "2026-01-05T09:30:04.020000Z",
    "drain_until": None,
    "stopped_at": None,
    "last_used_at": None,
    "next_start_at": None,
    "log_tail": "main: server is listening on http://127.0.0.1:8080",
    "events": [
        {
            "at": "2026-01-05T09:30:04.020000Z",
            "kind": "state",
            "who": "",
            "why": "",
            "from_state": "starting",
            "to_state": "ready",
            "seconds": 3.7,
        }
    ],
}
_STARTED: Final[dict[str, Any]] = {
    "message": "QWEN3 4B Q4_K_M is ready at port 8080 after 3.7 s.",
    **_NAMES,
    "node": "local",
    "port": 8080,
    "status": "started",
    "startup_time_seconds": 3.71,
}
_FOLLOWED: Final[dict[str, Any]] = {
    "task_id": None,
    "status_url": "/api/models/servers/qwen3_4p0b_q4km_fast",
}
_ACCEPTED: Final[dict[str, Any]] = {
    "message": "QWEN3 4B Q4_K_M is starting, and wanted running.",
    **_FOLLOWED,
    **_LOADING,
}
_ALL_STARTED: Final[dict[str, Any]] = {
    "message": "Started 1 of 2 after 3.9 s.",
    "started": 1,
    "total": 2,
    "startup_time_seconds": 3.9,
    "models": [{**_NAMES, "port": 8080}],
    "failed": [{"model_id": "gone", "detail": "No model here has the id gone."}],
}
_ALL_STOPPED: Final[dict[str, Any]] = {
    "message": "Stopped 1 of 1 after 0.3 s.",
    "stopped": 1,
    "total": 1,
    "startup_time_seconds": 0.0,
    "shutdown_time_seconds": 0.3,
    "models": [{**_NAMES, "port": None}],
    "failed": [],
}
_UNKNOWN: Final = "Model not found: qwen9. Available: qwen3_4p0b_q4km_fast."
_NO_REPLICA: Final = "replica=99 is not a number from 0 to 15."
_NO_WAIT: Final = "wait=soon is not a number from 0 to 600."
_OVERRULED: Final = (
    "admin has asked for QWEN3 4B Q4_K_M to be stopped meanwhile (in the admin)."
)
_NO_WORKER: Final = str(NoWorkerError("local"))
_FAILED: Final = (
    "qwen3_4p0b_q4km_fast failed. This llama-server does not know --bogus.\n"
    "Its exit code was 1.\nThe last lines of its log:\nerror: invalid argument: --bogus"
)


def _many_accepted(body: dict[str, Any]) -> dict[str, Any]:
    still = {"message": f"{body['message']} QWEN3 8B Q4_K_M is starting, and wanted running."}
    return {**body, **still, "task_id": None, "status_url": "/api/models/servers"}


# -- the calls

LIST: Final = extend_schema(
    operation_id="list_servers",
    summary="The servers that run, or should",
    tags=TAGS,
    parameters=[_ALL],
    responses={
        200: answer(
            ServerListSerializer,
            {"total_servers": 1, "ready_servers": 1, "servers": [_SERVER]},
        ),
        **errors({400: "all=maybe is not true or false."}),
    },
)
SHOW: Final = extend_schema(
    operation_id="get_server",
    summary="One server, with its last events and the end of its log",
    tags=TAGS,
    parameters=[MODEL_ID, REPLICA, _ON],
    responses={
        200: answer(ServerDetailSerializer, _DETAIL),
        **errors({400: _NO_REPLICA, 404: _UNKNOWN}),
    },
)
_START_RESPONSES: Final[dict[Any, Any]] = {
    200: answer(StartedServerSerializer, _STARTED, description="It answers requests."),
    202: answer(AcceptedServerSerializer, _ACCEPTED, description="It is on its way."),
    **errors({400: _NO_WAIT, 404: _UNKNOWN, 409: _OVERRULED, 502: _FAILED, 503: _NO_WORKER}),
}
START: Final = extend_schema(
    operation_id="start_server",
    summary="Start a server",
    tags=TAGS,
    parameters=[MODEL_ID, REPLICA, _ON, WAIT],
    request=None,
    responses=_START_RESPONSES,
)
RESTART: Final = extend_schema(
    operation_id="restart_server",
    summary="Start a server anew",
    tags=TAGS,
    parameters=[MODEL_ID, REPLICA, _ON, WAIT],
    request=None,
    responses=_START_RESPONSES,
)
MOVE: Final = extend_schema(
    operation_id="move_server",
    summary="Have a server on another node",
    description="It is stopped where it is, its requests having the profile's drain_seconds, "
    "and the same replica is started there.",
    tags=TAGS,
    parameters=[MODEL_ID, _ON, WAIT],
    request=MoveSerializer,
    examples=[OpenApiExample("To a node", value={"to": "gpu2"}, request_only=True)],
    responses=_START_RESPONSES,
)
STOP: Final = extend_schema(
    operation_id="stop_server",
    summary="Stop a server",
    tags=TAGS,
    parameters=[MODEL_ID, REPLICA, _ON, WAIT, _AT_ONCE],
    request=AtOnceSerializer,
    examples=[OpenApiExample("At once", value={"at_once": True}, request_only=True)],
    responses={
        200: answer(
            StoppedServerSerializer,
            {
                "message": "QWEN3 4B Q4_K_M stopped after 0.3 s.",
                **_NAMES,
                "node": "local",
                "status": "stopped",
                "shutdown_time_seconds": 0.3,
            },
            description="It has no process.",
        ),
        202: answer(
            AcceptedServerSerializer,
            {
                **_ACCEPTED,
                "message": "QWEN3 4B Q4_K_M is stopping, and wanted stopped.",
                "wanted": "stopped",
                "state": "stopping",
            },
            description="It is on its way down.",
        ),
        **errors({400: _NO_WAIT, 404: _UNKNOWN, 409: _OVERRULED, 503: _NO_WORKER}),
    },
)
START_ALL: Final = extend_schema(
    operation_id="start_all_servers",
    summary="Start every server of the active profile",
    tags=TAGS,
    parameters=[WAIT],
    request=None,
    responses={
        200: answer(AllStartedSerializer, _ALL_STARTED, description="None is on its way."),
        202: answer(
            AllAcceptedStartSerializer,
            _many_accepted(_ALL_STARTED),
            description="Some are on their way.",
        ),
        **errors({400: _NO_WAIT, 404: "No profile is active.", 503: _NO_WORKER}),
    },
)
STOP_ALL: Final = extend_schema(
    operation_id="stop_all_servers",
    summary="Stop every server",
    tags=TAGS,
    parameters=[WAIT, _NODE, _AT_ONCE],
    request=AtOnceSerializer,
    responses={
        200: answer(AllStoppedSerializer, _ALL_STOPPED, description="None is on its way."),
        202: answer(
            AllAcceptedStopSerializer,
            _many_accepted(_ALL_STOPPED),
            description="Some are on their way.",
        ),
        **errors({400: _NO_WAIT, 503: _NO_WORKER}),
    },
)
