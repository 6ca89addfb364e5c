"""Ask one llama-server one prompt, and measure the answer.

The answer is streamed, so that whoever cancels need not wait for its end: a connection that
is closed frees the slot of its llama-server.
"""

import http.client
import json
import select
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from models_app.task_kinds import TaskKind
from servers_app.comparing.prompts import Prompt, parts_of
from servers_app.comparing.ranking import ranked

READ_TIMEOUT_S: Final = 300.0  # for the next bytes; a long prompt takes its time
MAX_ANSWER_S: Final = 1800.0
CHECK_S: Final = 1.0  # how often it is asked whether the answer is still wanted
MAX_BODY_BYTES: Final = 64 * 2**20
MAX_TEXT_CHARS: Final = 200_000
MAX_ERROR_CHARS: Final = 500
_DATA: Final = b"data:"

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """A llama-server that can be asked."""

    host: str
    port: int
    key: str
    is_private: bool = False  # launched for a comparison, and stopped after it


class NotWantedError(Exception):
    """Whoever asked for the answer has taken that back."""


class _RefusedError(Exception):
    """The server answered with an error."""


@dataclass(slots=True)
class _Streamed:
    """What has come so far."""

    text: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    chars: int = 0
    first_at: float | None = None
    finish: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, Any] = field(default_factory=dict)


def ask(
    target: Target,
    prompt: Prompt,
    settings: Mapping[str, Any],
    *,
    is_wanted: Callable[[], bool] = lambda: True,
) -> Answer:
    """Return what a model answers: text, tokens, seconds, tokens_per_s; or error.

    `tokens_per_s` is of the generation alone, as llama-server measured it itself; null
    where it does not say.

    Raises:
        NotWantedError: `is_wanted` said so meanwhile.
    """
    began = time.monotonic()
    try:
        if prompt.task == TaskKind.EMBEDDING:
            return _embedded(target, prompt, is_wanted, began)
        return _chatted(target, prompt, settings, is_wanted, began)
    except _RefusedError as error:
        return {"error": str(error)[:MAX_ERROR_CHARS]}
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        # The names and numbers of the connection are of no use to whoever reads it.
        why = "took too long" if isinstance(error, TimeoutError) else "broke off"
        return {"error": f"The answer {why}. The server's log may say why."}


def _chatted(
    target: Target,
    prompt: Prompt,
    settings: Mapping[str, Any],
    is_wanted: Callable[[], bool],
    began: float,
) -> Answer:
    body = {
        "messages": _messages(prompt, settings.get("system", "")),
        "max_tokens": settings["max_tokens"],
        "temperature": settings["temperature"],
        "seed": settings["seed"],
        "cache_prompt": False,  # both models read the whole of it
        "stream": True,
        "stream_options": {"include_usage": True},
        "timings_per_token": False,  # nosec B105
    }
    came = _Streamed()
    checked_at = time.monotonic()
    for event in _events(target, "/v1/chat/completions", body, is_wanted):
        _take(came, event)
        now = time.monotonic()
        if now - checked_at >= CHECK_S:
            checked_at = now
            if not is_wanted():
                raise NotWantedError
            if now - began > MAX_ANSWER_S:
                raise TimeoutError
    if not came.finish:
        raise ConnectionError
    seconds = time.monotonic() - began
    generated = came.usage.get("completion_tokens", came.timings.get("predicted_n"))
    return {
        "text": _fit("".join(came.text)),
        "thinking": _fit("".join(came.thinking)),
        "finish_reason": came.finish,
        "tokens": generated,
        "prompt_tokens": came.usage.get("prompt_tokens"),
        "seconds": round(seconds, 3),
        "first_token_s": None if came.first_at is None else round(came.first_at - began, 3),
        "tokens_per_s": _rate(came.timings),
    }


def _messages(prompt: Prompt, system: str) -> list[dict[str, Any]]:
    text, images = parts_of(prompt.text)
    content: Any = prompt.text
    if images:
        content = [
            {"type": "text", "text": text},
            *({"type": "image_url", "image_url": {"url": url}} for url in images),
        ]
    messages = [{"role": "user", "content": content}]
    return [{"role": "system", "content": system}, *messages] if system else messages


def _take(came: _Streamed, event: Mapping[str, Any]) -> None:
    if isinstance(error := event.get("error"), Mapping):
        raise _RefusedError(error.get("message") or "The server failed while it answered.")
    if isinstance(usage := event.get("usage"), Mapping):
        came.usage = usage
    if isinstance(timings := event.get("timings"), Mapping):
        came.timings = timings
    for choice in event.get("choices") or ():
        came.finish = choice.get("finish_reason") or came.finish
        delta = choice.get("delta") or {}
        for name, into in (("content", came.text), ("reasoning_content", came.thinking)):
            if isinstance(piece := delta.get(name), str) and piece:
                came.first_at = came.first_at or time.monotonic()
                came.chars += len(piece)
                if came.chars <= MAX_TEXT_CHARS:
                    into.append(piece)


def _fit(text: str) -> str:
    """Return text as a database takes it: without NUL, and without halves of characters."""
    whole = text.encode(errors="replace").decode()
    return whole.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _rate(timings: Mapping[str, Any]) -> float | None:
    rate = timings.get("predicted_per_second")
    if isinstance(rate, int | float) and 0 < rate < 1e6:
        return round(float(rate), 2)
    return None


def _embedded(
    target: Target, prompt: Prompt, is_wanted: Callable[[], bool], began: float
) -> Answer:
    """Have a model rank the lines of a prompt by how near they are to its first."""
    query, *candidates = [line.strip() for line in prompt.text.splitlines() if line.strip()]
    if not candidates:
        return {"error": "It needs a question, and below it a text in each line."}
    asked = {"input": [query, *candidates]}
    raw = b"".join(_answered(target, "/v1/embeddings", asked, is_wanted))
    body = json.loads(raw)
    rows = body.get("data") if isinstance(body, Mapping) else None
    if not isinstance(rows, list) or len(rows) != 1 + len(candidates):
        return {"error": "The server did not answer with an embedding for each line."}
    vectors = [row["embedding"] for row in sorted(rows, key=lambda row: row.get("index", 0))]
    order = ranked(vectors[0], vectors[1:])
    seconds = time.monotonic() - began
    tokens = (body.get("usage") or {}).get("prompt_tokens")
    return {
        "text": "\n".join(f"{score:.3f}  {candidates[index]}" for index, score in order),
        "thinking": "",
        "finish_reason": "stop",
        "tokens": tokens,
        "prompt_tokens": tokens,
        "seconds": round(seconds, 3),
        "first_token_s": None,  # nosec B105
        "tokens_per_s": None,
    }


def _events(
    target: Target, path: str, body: Mapping[str, Any], is_wanted: Callable[[], bool]
) -> Iterator[Mapping[str, Any]]:
    """Yield the events of a stream, without its end mark."""
    for line in _answered(target, path, body, is_wanted):
        text = line.strip()
        if not text.startswith(_DATA):
            continue
        data = text.removeprefix(_DATA).strip()
        if data == b"[DONE]":
            return
        event = json.loads(data)
        if isinstance(event, Mapping):
            yield event


def _answered(
    target: Target, path: str, body: Mapping[str, Any], is_wanted: Callable[[], bool]
) -> Iterator[bytes]:
    """Yield the lines of an answer; leaving early closes the connection."""
    connection = http.client.HTTPConnection(target.host, target.port, timeout=READ_TIMEOUT_S)
    headers = {"Authorization": f"Bearer {target.key}", "Content-Type": "application/json"}
    try:
        connection.request("POST", path, json.dumps(body), headers)
        _wait_for_bytes(connection, is_wanted)
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise _RefusedError(_why(response.status, response.read(MAX_BODY_BYTES)))
        read = 0
        while line := response.readline(MAX_BODY_BYTES):
            read += len(line)
            if read > MAX_BODY_BYTES:
                msg = "The answer is too long."
                raise _RefusedError(msg)
            yield line
    finally:
        connection.close()


def _wait_for_bytes(
    connection: http.client.HTTPConnection, is_wanted: Callable[[], bool]
) -> None:
    """Wait for the answer to begin: llama-server says nothing until it has read the prompt."""
    deadline = time.monotonic() + READ_TIMEOUT_S
    while not select.select([connection.sock], [], [], CHECK_S)[0]:
        if not is_wanted():
            raise NotWantedError
        if time.monotonic() > deadline:
            raise TimeoutError


def _why(status: int, raw: bytes) -> str:
    try:
        said = json.loads(raw)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        said = ""
    return f"The server answered {status}{f': {said}' if said else '.'}"
