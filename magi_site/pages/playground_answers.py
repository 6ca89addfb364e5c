"""One answer for the playground where no script runs: the request that a script would send.

It goes to the gateway within this process, by its whole way: who may ask, the log of requests
and the choice of a server are those of every request.
"""

import asyncio
import contextvars
import json
import shlex
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace
from typing import Any, Final

from django.http import HttpRequest

from magi_site.operations.caller import caller_of
from magi_site.operations.inner_calls import Answer, Caller, call
from servers_app.gateway.current import CLIENT_GONE, current
from servers_app.gateway.thinking import CHAT_PATH

TIMEOUT_S: Final = 1800.0  # the gateway's own are shorter, but for a slow model
KEY_VARIABLE: Final = "MAGI_API_KEY"


@dataclass(frozen=True, slots=True)
class Stage:
    """What one of two stages took."""

    title: str
    model_id: str
    tier: str
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What the answer took; None: it does not say."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    tokens: int | None = None
    tokens_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a question: an answer, or the reason why there is none."""

    body: Mapping[str, Any]
    text: str = ""
    thinking: str = ""
    stages: list[Stage] = field(default_factory=list)  # of an answer in two
    warning: str = ""  # why it is not from whom it was to be
    is_cut: bool = False  # at the limit of its tokens
    model_id: str = ""
    tier: str = ""
    score: str = ""
    request_id: str = ""
    figures: Figures = Figures()
    seconds: float = 0.0
    error: str = ""
    retry_after: str = ""


def request_body(
    model: str,
    messages: list[dict[str, str]],
    *,
    preset: str = "",
    max_tokens: int | None = None,
    temperature: float | None = None,
) -> dict[str, Any]:
    """Return the chat's JSON; what nobody chose is left to the preset and the model."""
    given = {"preset": preset or None, "max_tokens": max_tokens, "temperature": temperature}
    chosen = {name: value for name, value in given.items() if value is not None}
    return {"model": model, "messages": messages, **chosen}


def as_curl(body: Mapping[str, Any], base_url: str, *, needs_key: bool) -> str:
    """Return the command that sends the same request."""
    key = f' -H "Authorization: Bearer ${KEY_VARIABLE}"' if needs_key else ""
    data = shlex.quote(json.dumps(body, indent=2, ensure_ascii=False))
    head = f"curl {shlex.quote(base_url + CHAT_PATH)} -H 'Content-Type: application/json'"
    return f"{head}{key} -d {data}"


def answer_to(request: HttpRequest, body: Mapping[str, Any]) -> Answered:
    """Ask the gateway on behalf of whoever sent `request`, a form of the admin; wait for it."""
    running = current()
    if running is None:
        message = "No gateway runs in this process. Open this page at MAGI's web server."
        return Answered(body, error=message)
    calls = _call(_asking(request), json.dumps(body).encode())
    # In a context of its own: Django runs what a request's context calls in the thread of
    # that request, which waits here.
    answering = contextvars.Context().run(asyncio.run_coroutine_threadsafe, calls, running.loop)
    gone: Future[None] | None = getattr(request, "scope", {}).get(CLIENT_GONE)
    if gone is not None:
        gone.add_done_callback(lambda _gone: answering.cancel())
    try:
        return _read(body, answering.result())
    except TimeoutError:
        message = f"There was no answer within {TIMEOUT_S:g} s. Try a smaller model."
        return Answered(body, error=message)
    except CancelledError:
        return Answered(body, error="You left before the answer came.")  # to nobody
    finally:
        answering.cancel()  # nothing, if it is done


async def _call(caller: Caller, data: bytes) -> Answer:
    from magi_site.asgi import application  # noqa: PLC0415 - it imports this, by its URLs

    return await call(application, caller, "POST", CHAT_PATH, body=data, timeout_s=TIMEOUT_S)


def _asking(request: HttpRequest) -> Caller:
    caller = caller_of(request)
    token = str(request.POST.get("csrfmiddlewaretoken", "")).encode("latin-1", "replace")
    json_type = (b"content-type", b"application/json")
    return replace(caller, headers=(*caller.headers, json_type, (b"x-csrftoken", token)))


def _read(body: Mapping[str, Any], answer: Answer) -> Answered:
    said = {name: value.decode("latin-1") for name, value in answer.headers.items()}
    known = Answered(
        body,
        model_id=said.get(b"x-magi-model", ""),
        tier=said.get(b"x-magi-tier", ""),
        score=said.get(b"x-magi-score", ""),
        request_id=said.get(b"x-magi-request-id", ""),
        seconds=answer.seconds,
    )
    try:
        value: dict[str, Any] = json.loads(answer.body)
        if answer.status != 200:
            reason = value["error"]["message"]
            return replace(known, error=reason, retry_after=said.get(b"retry-after", ""))
        choice, usage = value["choices"][0], value.get("usage") or {}
        message = choice["message"]
        stages = _stages(value)
        text = message.get("content") or ""
    except (ValueError, LookupError, TypeError, AttributeError):
        broken = "The answer broke off, or is none. Send it again, or look into Activity."
        return replace(known, error=broken)
    details = usage.get("prompt_tokens_details") or {}
    timings = {} if stages else value.get("timings") or {}
    return replace(
        known,
        text=text,
        thinking=message.get("reasoning_content") or "",
        stages=stages,
        warning=said.get(b"x-magi-warning", "") or said.get(b"x-magi-reason", ""),
        is_cut=choice.get("finish_reason") == "length",
        figures=Figures(
            usage.get("prompt_tokens"),
            details.get("cached_tokens"),
            usage.get("completion_tokens"),
            timings.get("predicted_per_second"),
        ),
    )


def _stages(value: Mapping[str, Any]) -> list[Stage]:
    return [
        Stage(
            "First answer" if stage["stage"] == 1 else "Refined answer",
            stage["model_id"],
            stage["tier"],
            stage["tokens"],
            stage["time_ms"] / 1000,
        )
        for stage in (value.get("magi") or {}).get("stages", [])
    ]
