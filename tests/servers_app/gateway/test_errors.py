"""What an error looks like to the clients of each API."""

import json

import pytest

from servers_app.gateway.errors import (
    BodyTooLargeError,
    GatewayError,
    InternalError,
    InvalidRequestError,
    ModelLoadingError,
    ModelNotFoundError,
    UpstreamTimeoutError,
)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param(InvalidRequestError("No."), "invalid_request_error", id="400"),
        pytest.param(ModelNotFoundError("a", []), "not_found_error", id="404"),
        pytest.param(BodyTooLargeError(1), "request_too_large", id="413"),
        pytest.param(InternalError("r1"), "api_error", id="500"),
        pytest.param(ModelLoadingError("a"), "overloaded_error", id="503"),
        pytest.param(UpstreamTimeoutError("a", 1), "timeout_error", id="504"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_anthropics_clients_get_anthropics_body(
    error: GatewayError, kind: str, path: str
) -> None:
    expected = {"type": "error", "error": {"type": kind, "message": error.message}}

    assert error.body_for(path) == expected
    assert (
        error.event_for(path) == b"event: error\ndata: %s\n\n" % json.dumps(expected).encode()
    )


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages_x"])
def test_all_others_get_openais(path: str) -> None:
    error = InvalidRequestError("No.", param="n")

    assert error.body_for(path) == {
        "error": {"message": "No.", "type": "invalid_request_error", "code": None, "param": "n"}
    }


def test_an_event_of_the_responses_api_is_flat_and_numbered() -> None:
    event = InvalidRequestError("No.", param="n").event_for("/v1/responses", 12)

    name, data = event.removesuffix(b"\n\n").split(b"\n")
    assert name == b"event: error"
    assert json.loads(data.removeprefix(b"data: ")) == {
        "type": "error",
        "code": None,
        "message": "No.",
        "param": "n",
        "sequence_number": 12,
    }
