"""How the test of the endpoints calls, and judges what comes back."""

import asyncio
import json
from typing import Any

import pytest

from magi_site.operations.endpoint_tests import Verdict, judge
from magi_site.operations.inner_calls import Answer, Caller, call

CALLER = Caller(((b"host", b"localhost"),), ("127.0.0.1", 1), ("127.0.0.1", 2))
PATIENCE_S = 30.0  # a watchdog, far above what anything takes


async def start(send: Any, status: int = 200, media_type: bytes = b"application/json") -> None:
    headers = [(b"content-type", media_type)]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def get(application: Any, timeout_s: float = PATIENCE_S) -> Answer:
    return await call(application, CALLER, "GET", "/here", timeout_s=timeout_s)


async def test_a_whole_answer_is_given_and_the_caller_is_who_asked() -> None:
    scopes: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        await start(send)
        await send({"type": "http.response.body", "body": b"[1,", "more_body": True})
        await send({"type": "http.response.body", "body": b" 2]"})

    answer = await get(application)

    assert (answer.status, answer.body, answer.size_bytes) == (200, b"[1, 2]", 6)
    (scope,) = scopes
    assert (scope["method"], scope["path"]) == ("GET", "/here")
    assert scope["headers"] == [(b"host", b"localhost")]
    assert scope["client"] == ("127.0.0.1", 1)


async def test_of_a_stream_the_beginning_is_enough_and_its_client_leaves() -> None:
    is_ended = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await start(send, media_type=b"text/event-stream; charset=utf-8")
        await send({"type": "http.response.body", "body": b"retry: 1\n\n", "more_body": True})
        assert await receive() == {"type": "http.disconnect"}
        is_ended.set()

    answer = await get(application)

    assert (answer.body, answer.is_complete) == (b"retry: 1\n\n", False)
    assert is_ended.is_set()
    assert judge(answer) == (Verdict.PASSED, "A stream, which begins with 'retry: 1'.")


async def test_what_does_not_answer_is_broken_off() -> None:
    is_cancelled = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        assert await receive() == {"type": "http.disconnect"}
        is_cancelled.set()

    with pytest.raises(TimeoutError):
        await get(application, timeout_s=0.01)

    assert is_cancelled.is_set()


async def test_what_breaks_is_raised_to_who_calls() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        msg = "no"
        raise ValueError(msg)

    with pytest.raises(ValueError, match="no"):
        await get(application)


def answered(
    status: int, body: object, media_type: bytes = b"application/json; charset=utf-8"
) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {b"content-type": media_type}, raw, len(raw), is_complete=True)


@pytest.mark.parametrize(
    ("answer", "verdict", "detail"),
    [
        pytest.param(
            answered(200, {"models": {}, "scan_path": ""}),
            Verdict.PASSED,
            "JSON with models, scan_path (31 bytes).",
            id="JSON",
        ),
        pytest.param(
            answered(200, {}), Verdict.PASSED, "An empty JSON object.", id="empty JSON"
        ),
        pytest.param(
            answered(200, [1, 2]), Verdict.PASSED, "A JSON list of 2 (6 bytes).", id="list"
        ),
        pytest.param(
            answered(200, b"<html>", b"text/html"),
            Verdict.PASSED,
            "text/html (6 bytes).",
            id="page",
        ),
        pytest.param(
            answered(404, {"detail": "No profile is active."}),
            Verdict.PASSED,
            "No profile is active.",
            id="not there, and it says so",
        ),
        pytest.param(
            answered(404, {"error": {"message": "There is no model 'x'.", "code": "y"}}),
            Verdict.PASSED,
            "There is no model 'x'.",
            id="not there, as OpenAI says it",
        ),
        pytest.param(
            answered(404, {"success": False, "error": "no such download", "message": "No."}),
            Verdict.PASSED,
            "no such download",
            id="not there, as the model manager says it",
        ),
        pytest.param(
            answered(404, b"<h1>Not Found</h1>", b"text/html"),
            Verdict.FAILED,
            "It says in no JSON why it does not answer.",
            id="a page instead of JSON",
        ),
        pytest.param(
            answered(403, {"detail": "The key ci has no scope infer."}),
            Verdict.REFUSED,
            "The key ci has no scope infer.",
            id="refused",
        ),
        pytest.param(
            answered(503, {"detail": "Redis cannot be reached."}),
            Verdict.FAILED,
            "Redis cannot be reached.",
            id="a part is down",
        ),
        pytest.param(
            answered(200, b'{"a": NaN}'),
            Verdict.FAILED,
            "What it calls JSON is none: there is NaN in it.",
            id="NaN",
        ),
        pytest.param(
            Answer(), Verdict.FAILED, "It ended without an answer.", id="nothing at all"
        ),
    ],
)
def test_an_answer_is_judged_by_what_it_says(
    answer: Answer, verdict: Verdict, detail: str
) -> None:
    assert judge(answer) == (verdict, detail)


def test_half_a_json_document_is_no_json() -> None:
    verdict, detail = judge(answered(200, b'{"a": '))

    assert verdict == Verdict.FAILED
    assert detail.startswith("What it calls JSON is none: ")
