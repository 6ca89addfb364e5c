"""What is streamed, and /health, for the OpenAPI document: Django answers none of it."""

from typing import Any, Final

from magi_site.event_hub import AVAILABLE, UNAVAILABLE
from magi_site.log_stream import DEFAULT_LINES, MAX_LINES
from magi_site.schema import Operation, guarded
from models_app.events import KINDS, LOST
from profiles_app.models import MAX_REPLICAS

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
LIVE: Final = ["Live"]
EVENT_KINDS: Final = sorted({*KINDS, LOST, AVAILABLE, UNAVAILABLE})
REFUSALS: Final = (400, 401, 403, 429)


def _ref(name: str) -> Operation:
    return {"$ref": f"#/components/schemas/{name}"}


def _response(why: str, schema: Operation, media_type: str = JSON, **more: Any) -> Operation:
    return {"description": why, "content": {media_type: {"schema": schema, **more}}}


def _errors(details: dict[str, str]) -> dict[str, Operation]:
    return {
        status: _response(detail, _ref("Error"), example={"detail": detail})
        for status, detail in details.items()
    }


def _query(name: str, about: str, schema: Operation) -> Operation:
    return {"name": name, "in": "query", "description": about, "schema": schema}


PATHS: Final[dict[str, Operation]] = {
    "/health": {
        "get": {
            "operationId": "health",
            "summary": "Whether this process serves",
            "description": "For whoever asks.",
            "tags": LIVE,
            "security": [],
            "responses": {
                "200": _response(
                    "It does.",
                    {
                        "type": "object",
                        "properties": {"status": {"type": "string", "const": "ok"}},
                        "required": ["status"],
                    },
                    example={"status": "ok"},
                )
            },
        }
    },
    "/api/events": {
        "get": guarded(
            {
                "operationId": "follow_events",
                "summary": "What happens, for as long as you listen",
                "description": "Server-sent events of the kinds `server`, `model`, `profile`, "
                "`scan` and `task`. After `lost` and `available` something has been missed: "
                "look again.",
                "tags": LIVE,
                "parameters": [
                    {
                        "name": "Last-Event-ID",
                        "in": "header",
                        "description": "What came last: the stream goes on from there.",
                        "schema": {"type": "string"},
                    }
                ],
                "responses": {
                    "200": _response(
                        "Events.",
                        {
                            "type": "object",
                            "description": "Each event; `data` is JSON.",
                            "properties": {
                                "event": {"enum": EVENT_KINDS},
                                "data": {"type": "string"},
                            },
                        },
                        EVENTS,
                        example='event: server\ndata: {"kind": "server", "state": "ready"}\n\n',
                    ),
                    **_errors({"503": "Redis, which carries the events, cannot be reached."}),
                },
            },
            scopes=["read"],
            refusals=REFUSALS,
        )
    },
    "/api/models/servers/{model_id}/logs": {
        "get": guarded(
            {
                "operationId": "get_server_log",
                "summary": "A server's log: its end, or as it is written",
                "tags": ["Servers"],
                "parameters": [
                    {
                        "name": "model_id",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string", "minLength": 1},
                    },
                    _query(
                        "lines",
                        "The last so many.",
                        {
                            "type": "integer",
                            "minimum": 1,
                            "maximum": MAX_LINES,
                            "default": DEFAULT_LINES,
                        },
                    ),
                    _query(
                        "follow",
                        "As server-sent events, a line each, for as long as you listen.",
                        {"type": "boolean", "default": False},
                    ),
                    _query(
                        "replica",
                        "Which of several servers of the model.",
                        {
                            "type": "integer",
                            "minimum": 0,
                            "maximum": MAX_REPLICAS - 1,
                            "default": 0,
                        },
                    ),
                ],
                "responses": {
                    "200": {
                        "description": "Lines.",
                        "content": {
                            "text/plain": {
                                "schema": {"type": "string"},
                                "example": "main: server is listening\n",
                            },
                            EVENTS: {
                                "schema": {
                                    "type": "object",
                                    "description": "Each event: a line, and its place.",
                                    "properties": {
                                        "id": {"type": "string"},
                                        "data": {"type": "string"},
                                    },
                                    "required": ["id", "data"],
                                },
                                "example": "id: 1-26\ndata: main: server is listening\n\n",
                            },
                        },
                    },
                    **_errors(
                        {
                            "404": "Model not found: qwen9. Available: qwen3_4p0b_q4km_fast.",
                            "503": "The log cannot be read.",
                        }
                    ),
                },
            },
            scopes=["read"],
            refusals=REFUSALS,
        )
    },
}
