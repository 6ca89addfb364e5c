"""How many tokens an answer says it took, read from its first and last bytes as they pass."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

# Embeddings and Anthropic's streams have the prompt's tokens at the start, all else at the end.
HEAD_BYTES: Final = 2048
TAIL_BYTES: Final = 8192
MAX_TOKENS: Final = 2**31 - 1  # more is no count

# A quote inside a JSON string is escaped, so no text that a model writes looks like these.
_USAGE: Final = b'"usage"'
_TIMINGS: Final = b'"timings"'
_OBJECT: Final = re.compile(rb"\s*:\s*(?=\{)")
_MAX_OBJECT_BYTES: Final = 1024
_DECODER: Final = json.JSONDecoder()


class TokenCounts(NamedTuple):
    """None: the answer does not say."""

    prompt: int | None = None  # with the cached ones
    cached: int | None = None
    completion: int | None = None


class TokenTap:
    """Listens to one answer. No piece is parsed before `counts` asks for the outcome.

    It holds HEAD_BYTES and up to twice TAIL_BYTES.
    """

    __slots__ = ("_head", "_is_json", "_tail")

    def __init__(self, content_type: str) -> None:
        """Take the media type of the answer; one that is not JSON is not listened to."""
        self._is_json = content_type in ("application/json", "text/event-stream")
        self._head = b""
        self._tail = bytearray()

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the answer, as llama-server sent them."""
        if not self._is_json:
            return
        if len(self._head) < HEAD_BYTES:
            self._head += piece[: HEAD_BYTES - len(self._head)]
        if len(piece) >= TAIL_BYTES:
            self._tail = bytearray(piece[-TAIL_BYTES:])
            return
        self._tail += piece
        if len(self._tail) > 2 * TAIL_BYTES:
            del self._tail[:-TAIL_BYTES]

    def counts(self) -> TokenCounts:
        """Return what the answer said so far.

        Chat, completions, embeddings and rerank have OpenAI's `usage`, streams of them
        only where the client asked for it; responses and messages have their own.
        llama-server's `timings` are there where `usage` is not.
        """
        tail = bytes(self._tail)
        usage = _last(_USAGE, tail)
        told = _of_usage(usage)
        if told.prompt is None:
            told = _of_usage({**_first(_USAGE, self._head), **usage})
        if None not in told:
            return told
        measured = _of_timings(_last(_TIMINGS, tail))
        pairs = zip(told, measured, strict=True)
        return TokenCounts(*(second if first is None else first for first, second in pairs))


def _of_usage(usage: Mapping[str, Any]) -> TokenCounts:
    if "prompt_tokens" in usage:
        cached = _within(usage, "prompt_tokens_details", "cached_tokens")
        return TokenCounts(
            _count(usage, "prompt_tokens"), cached, _count(usage, "completion_tokens")
        )
    prompt, completion = _count(usage, "input_tokens"), _count(usage, "output_tokens")
    cached = _count(usage, "cache_read_input_tokens")
    if cached is None:  # OpenAI's responses
        return TokenCounts(
            prompt, _within(usage, "input_tokens_details", "cached_tokens"), completion
        )
    # Anthropic's input_tokens are those that were in no cache.
    written = _count(usage, "cache_creation_input_tokens") or 0
    whole = None if prompt is None else prompt + cached + written
    return TokenCounts(whole, cached, completion)


def _of_timings(timings: Mapping[str, Any]) -> TokenCounts:
    prompt, cached = _count(timings, "prompt_n"), _count(timings, "cache_n")
    whole = None if prompt is None else prompt + (cached or 0)
    return TokenCounts(whole, cached, _count(timings, "predicted_n"))


def _within(values: Mapping[str, Any], key: str, name: str) -> int | None:
    details = values.get(key)
    return _count(details, name) if isinstance(details, dict) else None


def _count(values: Mapping[str, Any], name: str) -> int | None:
    value = values.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= MAX_TOKENS else None


def _first(key: bytes, data: bytes) -> dict[str, Any]:
    at = data.find(key)
    while at >= 0:
        match = _OBJECT.match(data, at + len(key))
        if match:
            return _object(data[match.end() :])
        at = data.find(key, at + 1)
    return {}


def _last(key: bytes, data: bytes) -> dict[str, Any]:
    at = data.rfind(key)
    while at >= 0:
        match = _OBJECT.match(data, at + len(key))
        if match:
            return _object(data[match.end() :])
        at = data.rfind(key, 0, at)
    return {}


def _object(data: bytes) -> dict[str, Any]:
    """Return the object at the start of `data`; an empty one if it was cut off."""
    text = data[:_MAX_OBJECT_BYTES].decode(errors="replace")
    try:
        found, _end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
