"""/v1 for the OpenAPI document.

What a model is sent and answers is OpenAI's or Anthropic's to say; here stands what the
gateway reads of it.
"""

from collections.abc import Sequence
from typing import Any, Final

from magi_site.schema import Operation, guarded
from servers_app.gateway.access import INFER, READ

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
GATEWAY: Final = ["Queries and the gateway"]

_NAMES: Final = (
    "A model's id or alias, a tier (`fast`, `balanced`, `powerful`), `auto` or `two-stage`."
)

SCHEMAS: Final[dict[str, Operation]] = {
    "OpenAIError": {
        "type": "object",
        "description": "An error as OpenAI's clients read it.",
        "properties": {
            "error": {
                "type": "object",
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "code": {"type": ["string", "null"]},
                    "param": {"type": ["string", "null"]},
                },
                "required": ["message", "type", "code", "param"],
            }
        },
        "required": ["error"],
    },
    "AnthropicError": {
        "type": "object",
        "description": "An error as Anthropic's clients read it.",
        "properties": {
            "type": {"type": "string", "const": "error"},
            "error": {
                "type": "object",
                "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
                "required": ["type", "message"],
            },
        },
        "required": ["type", "error"],
    },
    "Card": {
        "type": "object",
        "description": "A name that requests may give for a model.",
        "properties": {
            "id": {"type": "string"},
            "object": {"type": "string", "const": "model"},
            "created": {"type": "integer", "description": "Unix time, seconds."},
            "owned_by": {"type": "string"},
            "display_name": {"type": "string"},
            "kind": {"$ref": "#/components/schemas/ModelKindEnum"},
            "tier": {"type": ["string", "null"]},
            "context_length": {"type": ["integer", "null"], "description": "Tokens."},
            "state": {"type": "string", "description": "Its server's."},
            "root": {
                "type": ["string", "null"],
                "description": "The model that answers; null where each request decides it.",
            },
            "aliases": {"type": "array", "items": {"type": "string"}},
            "is_thinking": {"type": "boolean"},
        },
        "required": [
            "id", "object", "created", "owned_by", "display_name", "kind", "tier",
            "context_length", "state", "root", "aliases", "is_thinking",
        ],
    },
}  # fmt: skip

_CARD: Final[Operation] = {
    "id": "qwen3_4p0b_q4km_fast",
    "object": "model",
    "created": 1767605400,
    "owned_by": "magi",
    "display_name": "QWEN3 4B Q4_K_M",
    "kind": "text",
    "tier": "fast",
    "context_length": 32768,
    "state": "ready",
    "root": "qwen3_4p0b_q4km_fast",
    "aliases": [],
    "is_thinking": True,
}
_REFUSALS: Final = {  # of the gateway, by status
    "400": "The body is no request that can be routed.",
    "401": "Nobody says who calls.",
    "403": "The key may not, or not with this model.",
    "404": "No enabled model has that name; the message says which there are.",
    "413": "The body is larger than 64 MiB.",
    "415": "The body is none of JSON.",
    "429": "Too many wait already, or the key's rate limit is reached.",
    "502": "The model's server broke off.",
    "503": "The model is loading, and nobody is to wait; `Retry-After` says how long.",
    "504": "The model's server said nothing for too long.",
}


def _ref(name: str) -> Operation:
    return {"$ref": f"#/components/schemas/{name}"}


def _response(why: str, schema: Operation, media_type: str = JSON, **more: Any) -> Operation:
    return {"description": why, "content": {media_type: {"schema": schema, **more}}}


def _refusals(statuses: Sequence[str], error: str = "OpenAIError") -> dict[str, Operation]:
    said: Operation = {"message": "…", "type": "invalid_request_error"}
    example: Operation = {"error": {**said, "code": None, "param": None}}
    if error == "AnthropicError":
        example = {"type": "error", "error": said}
    return {
        status: _response(_REFUSALS[status], _ref(error), example=example)
        for status in statuses
    }


def _relayed(
    operation_id: str,
    summary: str,
    example: Operation,
    *,
    error: str = "OpenAIError",
    is_streamed: bool = True,
) -> Operation:
    """Return a path of /v1 that goes to a model, with what the gateway reads of its body."""
    answers: Operation = {
        JSON: {"schema": {"type": "object", "additionalProperties": True}},
    }
    properties: Operation = {"model": {"type": "string", "description": _NAMES}}
    if is_streamed:
        answers[EVENTS] = {"schema": {"description": "Each event.", "type": "object"}}
        properties["stream"] = {"type": "boolean", "default": False}
    body: Operation = {
        "type": "object",
        "properties": properties,
        "required": ["model"],
        "additionalProperties": True,
    }
    headers = {
        name: {"description": about, "schema": {"type": "string"}}
        for name, about in {
            "X-Magi-Model": "The id of the model that answers.",
            "X-Magi-Tier": "Its tier.",
            "X-Magi-Score": "How hard the request is, 0 to 10, where that decided.",
            "X-Magi-Request-Id": "Of the request log.",
        }.items()
    }
    operation: Operation = {
        "operationId": operation_id,
        "summary": summary,
        "description": "The body goes on as it is, but for the model's name and a preset's "
        "defaults.",
        "tags": GATEWAY,
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": body, "example": example}},
        },
        "responses": {
            "200": {
                "description": "As the model's server answers.",
                "headers": headers,
                "content": answers,
            },
            **_refusals([*_REFUSALS], error),
        },
    }
    return {"post": guarded(operation, scopes=[INFER], permission="servers_app.infer")}


_MESSAGES: Final = [{"role": "user", "content": "Hello"}]
_CHAT: Final[Operation] = {"model": "auto", "messages": _MESSAGES}

PATHS: Final[dict[str, Operation]] = {
    "/v1/models": {
        "get": guarded(
            {
                "operationId": "list_names",
                "summary": "The names that requests may give",
                "tags": GATEWAY,
                "responses": {
                    "200": _response(
                        "As OpenAI's clients read it.",
                        {
                            "type": "object",
                            "properties": {
                                "object": {"type": "string", "const": "list"},
                                "data": {"type": "array", "items": _ref("Card")},
                            },
                            "required": ["object", "data"],
                        },
                        example={"object": "list", "data": [_CARD]},
                    ),
                    **_refusals(["400", "401", "403", "429"]),
                },
            },
            scopes=[INFER, READ],
        )
    },
    "/v1/models/{model}": {
        "get": guarded(
            {
                "operationId": "get_name",
                "summary": "One of them",
                "tags": GATEWAY,
                "parameters": [
                    {
                        "name": "model",
                        "in": "path",
                        "required": True,
                        "description": _NAMES,
                        "schema": {"type": "string", "minLength": 1},
                    }
                ],
                "responses": {
                    "200": _response("It is there.", _ref("Card"), example=_CARD),
                    **_refusals(["400", "401", "403", "404", "429"]),
                },
            },
            scopes=[INFER, READ],
        )
    },
    "/v1/chat/completions": _relayed("chat", "Chat", _CHAT),
    "/v1/completions": _relayed(
        "complete_text", "Complete a text", {"model": "auto", "prompt": "Once upon a time"}
    ),
    "/v1/embeddings": _relayed(
        "embed",
        "Embed texts",
        {"model": "MODEL_ID", "input": ["Hello"]},
        is_streamed=False,
    ),
    "/v1/responses": _relayed("respond", "Respond", {"model": "auto", "input": "Hello"}),
    "/v1/messages": _relayed(
        "message",
        "Chat, as Anthropic's clients do",
        {**_CHAT, "max_tokens": 100},
        error="AnthropicError",
    ),
    "/v1/rerank": _relayed(
        "rerank",
        "Order documents by a query",
        {"model": "MODEL_ID", "query": "panda", "documents": ["A bear.", "A river."]},
        is_streamed=False,
    ),
}
