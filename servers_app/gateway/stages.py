"""One call of a tier for an answer that takes several: asked for, read, and counted."""

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from servers_app.gateway.bodies import read_model
from servers_app.gateway.errors import InvalidRequestError, UpstreamError
from servers_app.gateway.live import Tables
from servers_app.gateway.relay import EVENT_STREAM, Relay
from servers_app.gateway.sse import Events, object_of
from servers_app.gateway.thinking import CHAT_PATH, MAX_HELD_BYTES, make_filter
from servers_app.gateway.trace import Trace
from servers_app.gateway.waiting import Finder
from servers_app.gateway.wishes import Wish

TOO_LONG: Final = "exceed_context_size_error"  # llama-server's type for it


class Answer(Protocol):
    """What a server says. The trace that was given with the question knows which it is."""

    @property
    def status(self) -> int: ...

    @property
    def content_type(self) -> str: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


# Takes a path, a JSON body without its model, who is to answer, and what is told of it.
Open = Callable[[str, Mapping[str, Any], Wish, Trace], AbstractAsyncContextManager[Answer]]


@dataclass(slots=True)
class Stage:
    """One call and what has come of it so far."""

    number: int
    wish: Wish
    trace: Trace
    thinking: str = ""
    response: str = ""
    finish_reason: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)  # as the server gave it
    time_ms: int = 0

    @property
    def tier(self) -> str:
        """The tier that answers; until one does, the one that is asked."""
        return self.trace.tier or self.wish.tier or self.wish.name

    def label(self) -> dict[str, Any]:
        return {"stage": self.number, "tier": self.tier, "model_id": self.trace.model_id}

    def figures(self) -> dict[str, Any]:
        return {
            **self.label(),
            "tokens": count(self.usage, "completion_tokens"),
            "prompt_tokens": count(self.usage, "prompt_tokens"),
            "time_ms": self.time_ms,
        }

    def take(self, said: Mapping[str, Any], choice: Mapping[str, Any]) -> None:
        """Take what a choice says, in a chunk or whole."""
        self.thinking += text_of(said, "reasoning_content")
        self.response += text_of(said, "content")
        self.finish_reason = choice.get("finish_reason") or self.finish_reason


def opener(relay: Relay, finder: Finder, tables: Tables | None = None) -> Open:
    """Return what asks the servers of this gateway: those of `tables`, or of all."""

    def open_(
        path: str, body: Mapping[str, Any], wish: Wish, trace: Trace
    ) -> AbstractAsyncContextManager[Answer]:
        data = json.dumps({**body, "model": wish.name}).encode()
        search = finder.search(wish, trace, tables=tables)
        return relay.opened(path, data, read_model(data), search, trace)

    return open_


async def stream(
    open_: Open, body: Mapping[str, Any], stage: Stage
) -> AsyncGenerator[dict[str, Any], None]:
    """Ask for a chat completion, and give its chunks that have choices.

    Raises:
        NoRouteError: nobody can take it.
        InvalidRequestError: the server refused it.
        UpstreamError: the server failed, or its context is too small.
        UpstreamTimeoutError: the server said nothing.
    """
    asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
    started = time.monotonic()
    try:
        async with open_(CHAT_PATH, asked, stage.wish, stage.trace) as answer:
            if answer.status != 200 or answer.content_type != EVENT_STREAM:
                raise _refusal(await _read(answer), answer.status, stage)
            async for chunk in _chunks(answer, stage):
                yield chunk
    finally:
        stage.time_ms = round((time.monotonic() - started) * 1000)


async def fetch(open_: Open, body: Mapping[str, Any], stage: Stage) -> dict[str, Any]:
    """Ask for a chat completion in one piece. Raises: as `stream`."""
    asked = {key: value for key, value in body.items() if key != "stream_options"}
    started = time.monotonic()
    try:
        async with open_(CHAT_PATH, {**asked, "stream": False}, stage.wish, stage.trace) as it:
            whole = await _read(it)
            value = _parsed(whole)
            if it.status != 200 or value is None:
                raise _refusal(whole, it.status, stage)
    finally:
        stage.time_ms = round((time.monotonic() - started) * 1000)
    _count_usage(stage, value)
    for choice in dicts(value.get("choices"))[:1]:
        if isinstance(message := choice.get("message"), dict):
            stage.take(message, choice)
    return value


def dicts(values: object) -> list[dict[str, Any]]:
    found = values if isinstance(values, list) else []
    return [value for value in found if isinstance(value, dict)]


def text_of(values: Mapping[str, Any], key: str) -> str:
    text = values.get(key)
    return text if isinstance(text, str) else ""


def count(values: Mapping[str, Any], key: str) -> int:
    number = values.get(key)
    return number if isinstance(number, int) else 0


async def _chunks(answer: Answer, stage: Stage) -> AsyncGenerator[dict[str, Any], None]:
    separated = make_filter(
        CHAT_PATH, EVENT_STREAM, is_thinking=False, hide=False, is_single=False
    )
    events = Events()
    async for piece in answer:
        for event in events.feed(separated.feed(piece) if separated else piece):
            chunk = object_of(event)
            if chunk is None:
                continue
            if "error" in chunk:
                raise UpstreamError(stage.trace.model_id, "failed in the middle of its answer")
            _count_usage(stage, chunk)
            choices = dicts(chunk.get("choices"))
            for choice in choices[:1]:
                if isinstance(delta := choice.get("delta"), dict):
                    stage.take(delta, choice)
            if choices:
                yield chunk


def _count_usage(stage: Stage, value: Mapping[str, Any]) -> None:
    usage = value.get("usage")
    if not isinstance(usage, dict):
        return
    stage.usage = usage
    stage.trace.prompt_tokens = count(usage, "prompt_tokens")
    stage.trace.completion_tokens = count(usage, "completion_tokens")
    details = usage.get("prompt_tokens_details")
    if isinstance(details, dict):
        stage.trace.cached_tokens = count(details, "cached_tokens")


async def _read(answer: Answer) -> bytes:
    separated = make_filter(CHAT_PATH, "application/json", is_thinking=True, hide=False)
    whole = bytearray()
    async for piece in answer:
        whole += separated.feed(piece) if separated else piece
        if len(whole) > MAX_HELD_BYTES:
            break
    return bytes(whole) + (separated.finish() if separated else b"")


def _parsed(whole: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(whole)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refusal(whole: bytes, status: int, stage: Stage) -> InvalidRequestError | UpstreamError:
    """Return what a server's answer means that is no chat completion."""
    said = (_parsed(whole) or {}).get("error")
    error = said if isinstance(said, dict) else {}
    if error.get("type") == TOO_LONG:
        return UpstreamError(stage.trace.model_id, "has too small a context for this")
    if status in (400, 422):
        return InvalidRequestError(text_of(error, "message") or "The server refused it.")
    return UpstreamError(stage.trace.model_id, "did not answer as it should")
