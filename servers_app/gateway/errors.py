"""Errors raised by the gateway, each with its answer in OpenAI's error body.

GatewayError
├── InvalidRequestError         400  the body is not a request that can be routed
├── AuthenticationError         401  no API key, or none that is good
├── NotAllowedError             403  who calls is known, and may not do this
│   └── ScopeError              403  the API key is for something else
├── RateLimitedError            429  the API key was used too often in a minute
├── NotFoundError               404  no such path
├── MethodNotAllowedError       405  the path exists, the method does not fit it
├── BodyTooLargeError           413  more bytes than the gateway takes
├── NoRouteError                     nobody can take the request now
│   ├── ModelNotFoundError      404  no enabled model has that name
│   ├── NothingChosenError      404  no enabled model is what a task or `current` asks for
│   ├── ModelLoadingError       503  a server is loading it
│   ├── ModelNotReadyError      503  its servers are stopped or have failed
│   ├── CircuitOpenError        503  its servers failed too often just now
│   ├── UnreachableError        503  its servers are on nodes that are not there
│   └── RoutesUnknownError      503  the routing table could not be read yet
├── UpstreamError               502  llama-server broke off, or did not answer as it should
│   └── NotReachedError         502  it took no connection, or went away before it answered
├── UpstreamTimeoutError        504  llama-server said nothing for too long
├── InternalError               500  a fault of the gateway's own
└── ClientGoneError                  the client left: nobody is there to be answered
"""

import json
import math
from collections.abc import Sequence
from typing import ClassVar, Final, Literal, Self, TypedDict

LOADING_RETRY_AFTER_S = 2
_SHOWN_CHARS = 200  # of a name that a client made up
_ANTHROPIC_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class ErrorDetail(TypedDict):
    message: str
    type: str
    code: str | None
    param: str | None


class ErrorBody(TypedDict):
    error: ErrorDetail


class AnthropicDetail(TypedDict):
    type: str
    message: str


class AnthropicBody(TypedDict):
    type: Literal["error"]
    error: AnthropicDetail


class GatewayError(Exception):
    """Base class of every error the gateway raises on purpose."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = None

    def __init__(
        self, message: str, *, param: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after  # seconds

    def body(self) -> ErrorBody:
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "code": self.code,
                "param": self.param,
            }
        }

    def body_for(self, path: str) -> ErrorBody | AnthropicBody:
        """Return the body as the clients of an API expect it."""
        if not _is_anthropic(path):
            return self.body()
        other = "api_error" if self.status >= 500 else "invalid_request_error"
        kind = _ANTHROPIC_TYPES.get(self.status, other)
        return {"type": "error", "error": {"type": kind, "message": self.message}}

    def event_for(self, path: str, sequence_number: int = 0) -> bytes:
        """Return the server-sent event that ends a stream which cannot go on.

        Args:
            sequence_number: of the event, which only /v1/responses counts.
        """
        if path == "/v1/responses":
            content: object = {
                "type": "error",
                "code": self.code,
                "message": self.message,
                "param": self.param,
                "sequence_number": sequence_number,
            }
        else:
            content = self.body_for(path)
        name = b"event: error\n" if path == "/v1/responses" or _is_anthropic(path) else b""
        return b"%sdata: %s\n\n" % (name, json.dumps(content).encode())

    def headers(self) -> list[tuple[bytes, bytes]]:
        if self.retry_after is None:
            return []
        return [(b"retry-after", str(self.retry_after).encode())]


class InvalidRequestError(GatewayError):
    status = 400
    type = "invalid_request_error"


class AuthenticationError(GatewayError):
    status = 401
    type = "invalid_request_error"  # as OpenAI has it
    code = "invalid_api_key"

    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"www-authenticate", b"Bearer")]

    @classmethod
    def missing(cls) -> Self:
        return cls(
            "An API key is needed here, as the header `Authorization: Bearer magi_…`. Whoever "
            "runs MAGI makes one in the admin, or with `manage.py apikey new`."
        )

    @classmethod
    def unknown(cls) -> Self:
        return cls("The API key is not known here, or it was revoked.")

    @classmethod
    def expired(cls, name: str) -> Self:
        return cls(f"The API key '{name}' has expired. Whoever runs MAGI makes another one.")


class NotAllowedError(GatewayError):
    status = 403
    type = "permission_error"
    code = "not_allowed"


class ScopeError(NotAllowedError):
    code = "insufficient_scope"

    def __init__(self, key_name: str, scopes: Sequence[str]) -> None:
        """Take those of which any would have done."""
        super().__init__(
            f"The API key '{key_name}' may not do this: it does not have the scope "
            f"{' or '.join(scopes)}."
        )


class RateLimitedError(GatewayError):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"

    def __init__(self, key_name: str, per_minute: int, retry_after: int) -> None:
        super().__init__(
            f"The API key '{key_name}' may call {per_minute} times a minute. "
            f"Try again in {retry_after} s.",
            retry_after=retry_after,
        )


class NotFoundError(GatewayError):
    status = 404
    type = "invalid_request_error"
    code = "unknown_url"

    def __init__(self, method: str, path: str) -> None:
        super().__init__(
            f"There is no {method} {_shown(path)} here. "
            "Ask GET /v1/models, or POST to /v1/chat/completions."
        )


class MethodNotAllowedError(GatewayError):
    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"

    def __init__(self, method: str, path: str, *, allow: str) -> None:
        super().__init__(f"{method} is not allowed on {_shown(path)}. Use {allow}.")
        self.allow = allow

    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"allow", self.allow.encode())]


class BodyTooLargeError(GatewayError):
    status = 413
    type = "invalid_request_error"
    code = "body_too_large"

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"The body is larger than the {max_bytes} bytes accepted here.")


class NoRouteError(GatewayError):
    """No replica can take the request, as far as the routing table knows."""

    status = 503


class ModelNotFoundError(NoRouteError):
    status = 404
    type = "invalid_request_error"
    code = "model_not_found"

    def __init__(
        self, model: str, available: Sequence[str], *, is_restricted: bool = False
    ) -> None:
        """Take the names that there are, to the API key alone if it is restricted."""
        if available:
            message = (
                f"The model '{_shown(model)}' does not exist. Available: {', '.join(available)}"
            )
        elif is_restricted:
            message = (
                f"The model '{_shown(model)}' does not exist for this API key: none of those "
                "that it may use is enabled."
            )
        else:
            message = (
                f"The model '{_shown(model)}' does not exist, because no model is enabled. "
                "Enable a model in a profile in the admin."
            )
        super().__init__(message, param="model")


class NothingChosenError(NoRouteError):
    """A name that leaves the choice to the gateway, which has nothing to choose from."""

    status = 404
    type = "invalid_request_error"
    code = "model_not_found"

    def __init__(self, message: str) -> None:
        super().__init__(message, param="model")


class ModelLoadingError(NoRouteError):
    code = "model_loading"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"The model '{model}' is loading. Try again in {LOADING_RETRY_AFTER_S} seconds.",
            param="model",
            retry_after=LOADING_RETRY_AFTER_S,
        )


class ModelNotReadyError(NoRouteError):
    code = "model_not_ready"

    def __init__(self, model: str, state: str, *, failure: str = "") -> None:
        """Say what its server is and what to do; or how it failed, in a sentence."""
        how = f"has failed. {failure}" if failure else f"is {state}. Start it in the admin."
        super().__init__(f"The model '{model}' is not ready: its server {how}", param="model")


class RoutesUnknownError(NoRouteError):
    code = "routes_unknown"

    def __init__(self) -> None:
        super().__init__(
            "The gateway has not been able to read which models there are. "
            "The web server's log says why.",
            retry_after=LOADING_RETRY_AFTER_S,
        )


class UpstreamError(GatewayError):
    status = 502
    code = "upstream_error"

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(f"The server of the model '{model}' {reason}.")


class NotReachedError(UpstreamError):
    """Another server may take the request, or the same one later.

    Attributes:
        was_sent: the server may have seen it, and may have gone because of it.
        is_cut_off: its host is not there, which hardly is the request's doing.
    """

    def __init__(
        self, model: str, reason: str, *, was_sent: bool, is_cut_off: bool = False
    ) -> None:
        super().__init__(model, reason)
        self.was_sent = was_sent
        self.is_cut_off = is_cut_off

    @classmethod
    def cut_off(cls, model: str, whereabouts: str = "") -> Self:
        reason = f"cannot be reached over the network{whereabouts}"
        return cls(model, reason, was_sent=False, is_cut_off=True)


class UpstreamTimeoutError(GatewayError):
    status = 504
    code = "upstream_timeout"

    def __init__(self, model: str, waited_s: float) -> None:
        super().__init__(f"The server of the model '{model}' sent nothing for {waited_s:g} s.")


class InternalError(GatewayError):
    code = "internal_error"

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"The gateway failed. The web server's log has the details of request {request_id}."
        )


class ClientGoneError(GatewayError):
    status = 499  # nginx's number for it; never sent

    def __init__(self) -> None:
        super().__init__("The client left before its answer was complete.")


def _is_anthropic(path: str) -> bool:
    return path == "/v1/messages" or path.startswith("/v1/messages/")


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


class UnreachableError(NoRouteError):
    """It may be reached again at any moment, or a server elsewhere take its place."""

    code = "model_unreachable"

    def __init__(self, model: str, nodes: Sequence[str]) -> None:
        names = " and ".join(nodes)
        where = f"the nodes {names} do" if len(nodes) > 1 else f"its node {names}".strip()
        where = where if len(nodes) > 1 else f"{where} does"
        super().__init__(
            f"The model '{model}' cannot be reached: {where} not answer. "
            f"Try again in {LOADING_RETRY_AFTER_S} seconds.",
            param="model",
            retry_after=LOADING_RETRY_AFTER_S,
        )


class CircuitOpenError(NoRouteError):
    code = "circuit_open"

    def __init__(self, model: str, retry_after_s: float) -> None:
        """Take the seconds until one of its servers is tried again."""
        retry_after = max(1, math.ceil(retry_after_s))
        super().__init__(
            f"The servers of the model '{model}' failed too often just now. "
            f"Try again in {retry_after} s.",
            param="model",
            retry_after=retry_after,
        )
