"""A chat model's thinking apart from its answer, the same way for every model.

llama-server gives it as `reasoning_content`, unless its build or the model's template
leaves it in the text, between <think> and </think>.
"""

import json
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final, NamedTuple

from servers_app.gateway.filters import Filter
from servers_app.gateway.sse import COMMENT, Events, event_of, object_of

CHAT_PATH: Final = "/v1/chat/completions"
OPEN: Final = "<think>"
CLOSE: Final = "</think>"
MAX_HELD_BYTES: Final = 16 * 2**20  # an answer or an event that is larger passes as it is
MAX_UNMARKED_CHARS: Final = 2**18  # of a text that may be thinking without an opening tag
_IN_TEXT: Final = b"think>"
_OUT_OF_TEXT: Final = b"reasoning_content"


class Parts(NamedTuple):
    thinking: str
    answer: str


class _State(Enum):
    START = auto()
    THINKING = auto()
    CLOSED = auto()  # nothing but white space has followed the thinking
    ANSWER = auto()


class TextSplitter:
    """Takes a text in pieces and tells its thinking from its answer.

    Only what the text begins with is thinking. The white space around it belongs to nobody.
    """

    __slots__ = ("_held", "_is_fresh", "_may_be_unmarked", "_state")

    def __init__(self, *, may_be_unmarked: bool) -> None:
        """Say whether a text without <think> may be thinking up to its </think>.

        Such a text is held back until that tag comes, or its end.
        """
        self._may_be_unmarked = may_be_unmarked
        self._held = ""
        self._is_fresh = True  # no thinking was returned yet
        self._state = _State.START

    @property
    def is_answering(self) -> bool:
        """Whether all that follows is the answer, and nothing is held back."""
        return self._state is _State.ANSWER

    def feed(self, text: str) -> Parts:
        thinking = ""
        self._held += text
        if self._state is _State.START:
            self._begin()
        if self._state is _State.THINKING:
            thinking = self._think()
        if self._state is _State.CLOSED:
            self._held = self._held.lstrip()
            self._state = _State.ANSWER if self._held else _State.CLOSED
        if self._state is not _State.ANSWER:
            return Parts(thinking, "")
        answer, self._held = self._held, ""
        return Parts(thinking, answer)

    def finish(self) -> Parts:
        """Return what was held back: the text has ended, or is known to be answer."""
        held, self._held = self._held, ""
        is_thinking = self._state is _State.THINKING
        self._state = _State.ANSWER
        return Parts(held.rstrip(), "") if is_thinking else Parts("", held)

    def expect_marked(self) -> None:
        """Take it that this model's thinking comes by itself, so its text is the answer."""
        self._may_be_unmarked = False

    def _begin(self) -> None:
        beginning = self._held.lstrip()
        if beginning.startswith(OPEN):
            self._held, self._state = beginning[len(OPEN) :], _State.THINKING
        elif OPEN.startswith(beginning):
            return
        elif self._may_be_unmarked and CLOSE in beginning:
            self._state = _State.THINKING
        elif not self._may_be_unmarked or len(beginning) > MAX_UNMARKED_CHARS:
            self._state = _State.ANSWER

    def _think(self) -> str:
        text = self._held.lstrip() if self._is_fresh else self._held
        before, tag, after = text.partition(CLOSE)
        if tag:
            self._held, self._state = after, _State.CLOSED
            return before.rstrip()
        thinking = before[: len(before) - _begun_chars(before)].rstrip()
        self._held = before[len(thinking) :]
        self._is_fresh &= not thinking
        return thinking


def _begun_chars(text: str) -> int:
    """Return how many characters at the end of `text` may be the beginning of CLOSE."""
    return next((n for n in range(len(CLOSE) - 1, 0, -1) if text.endswith(CLOSE[:n])), 0)


def split_thinking(text: str) -> Parts:
    """Tell the thinking of a whole text from its answer."""
    splitter = TextSplitter(may_be_unmarked=True)
    first, last = splitter.feed(text), splitter.finish()
    return Parts(first.thinking + last.thinking, first.answer + last.answer)


def wants_thinking(values: Mapping[str, Any]) -> bool:
    """Whether a request leaves a model that thinks its thinking.

    Its text is then held back while it may be thinking; without, it need not be.
    """
    template = values.get("chat_template_kwargs")
    is_off = isinstance(template, dict) and template.get("enable_thinking") is False
    no_effort = values.get("reasoning_effort") == "none"
    no_budget = any(
        type(values.get(key)) is int and values[key] == 0
        for key in ("reasoning_budget", "thinking_budget_tokens")
    )
    return not (is_off or no_effort or no_budget)


def make_filter(
    path: str, content_type: str, *, is_thinking: bool, hide: bool, is_single: bool = True
) -> Filter | None:
    """Return what separates the thinking of an answer to `path`; None where nothing does.

    Args:
        path: of the request. Only chat is filtered: llama-server has its own forms of
            thinking for /v1/responses and /v1/messages, and a completion is the bare text.
        content_type: of the answer, in lower case and without parameters.
        is_thinking: the model thinks, so its text may be thinking without an opening tag.
        hide: leave the thinking out.
        is_single: the request asks for one choice. Once its answer has begun, the rest
            of a stream passes unread.
    """
    if path != CHAT_PATH:
        return None
    if content_type == "text/event-stream":
        return _StreamFilter(is_thinking=is_thinking, hide=hide, is_single=is_single)
    if content_type == "application/json":
        return _WholeFilter(is_thinking=is_thinking, hide=hide)
    return None


class _WholeFilter:
    """For an answer in one JSON body."""

    def __init__(self, *, is_thinking: bool, hide: bool) -> None:
        self._is_thinking, self._hide = is_thinking, hide
        self._held = bytearray()
        self._is_passing = False

    def feed(self, piece: bytes) -> bytes:
        if self._is_passing:
            return piece
        self._held += piece
        if len(self._held) <= MAX_HELD_BYTES:
            return b""
        self._is_passing = True
        return self._take()

    def finish(self) -> bytes:
        body = self._take()
        if _IN_TEXT not in body and not (self._hide and _OUT_OF_TEXT in body):
            return body
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            return body
        choices = _dicts(value.get("choices")) if isinstance(value, dict) else []
        changes = [self._separate(choice.get("message")) for choice in choices]
        return json.dumps(value).encode() if any(changes) else body

    def _separate(self, message: object) -> bool:
        """Change a message; tell whether anything of it was changed."""
        if not isinstance(message, dict):
            return False
        before = dict(message)
        thought, text = message.get("reasoning_content"), message.get("content")
        if isinstance(text, str) and text:
            splitter = TextSplitter(may_be_unmarked=self._is_thinking and not thought)
            first, last = splitter.feed(text), splitter.finish()
            message["content"] = first.answer + last.answer
            if thinking := first.thinking + last.thinking:
                message["reasoning_content"] = f"{thought}\n{thinking}" if thought else thinking
        if self._hide:
            message.pop("reasoning_content", None)
        return message != before

    def _take(self) -> bytes:
        body = bytes(self._held)
        self._held.clear()
        return body


class _StreamFilter:
    """For a stream of chat chunks."""

    def __init__(self, *, is_thinking: bool, hide: bool, is_single: bool) -> None:
        self._is_thinking, self._hide, self._is_single = is_thinking, hide, is_single
        self._events = Events()
        self._splitters: dict[int, TextSplitter] = {}
        self._last: dict[str, Any] = {}  # chunk, for what is left when the stream ends
        self._is_passing = False

    def feed(self, piece: bytes) -> bytes:
        if self._is_passing:
            return piece
        events = iter(self._events.feed(piece))
        passed = []
        for event in events:
            passed.append(self._filtered(event))
            if self._may_pass():
                self._is_passing = True
                return b"".join((*passed, *events, self._events.take_rest()))
        if self._events.pending_bytes > MAX_HELD_BYTES:
            self._is_passing = True
            return b"".join((*passed, self._left(), self._events.take_rest()))
        return b"".join(passed)

    def finish(self) -> bytes:
        return self._left() + self._events.take_rest()

    def _may_pass(self) -> bool:
        if self._hide or not self._is_single or not self._splitters:
            return False
        return all(splitter.is_answering for splitter in self._splitters.values())

    def _filtered(self, event: bytes) -> bytes:
        chunk = object_of(event)
        if chunk is None:
            return self._left() + event if b"[DONE]" in event else event
        choices = _dicts(chunk.get("choices"))
        if not choices:
            return event
        self._last = chunk
        changes = [self._separate(choice) for choice in choices]
        if not any(changes):
            return event
        says_nothing = not any(_says_something(choice) for choice in choices)
        return COMMENT if says_nothing and not chunk.get("usage") else event_of(chunk)

    def _separate(self, choice: dict[str, Any]) -> bool:
        """Change a choice; tell whether anything of it was changed."""
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return False
        splitter = self._splitter(choice.get("index"))
        before = dict(delta)
        thought, text = delta.get("reasoning_content"), delta.get("content")
        if thought:
            splitter.expect_marked()
        thinking, answer = splitter.feed(text) if isinstance(text, str) else Parts("", "")
        if choice.get("finish_reason") or delta.get("tool_calls"):
            last = splitter.finish()
            thinking, answer = thinking + last.thinking, answer + last.answer
        if answer:
            delta["content"] = answer
        elif text:
            del delta["content"]
        if thinking:
            delta["reasoning_content"] = f"{thought or ''}{thinking}"
        if self._hide:
            delta.pop("reasoning_content", None)
        return delta != before

    def _splitter(self, index: object) -> TextSplitter:
        key = index if isinstance(index, int) else 0
        if key not in self._splitters:
            self._splitters[key] = TextSplitter(may_be_unmarked=self._is_thinking)
        return self._splitters[key]

    def _left(self) -> bytes:
        """Return the chunks of what is still held back when the stream ends."""
        events = []
        for index, splitter in self._splitters.items():
            thinking, answer = splitter.finish()
            delta = {"reasoning_content": "" if self._hide else thinking, "content": answer}
            if said := {key: text for key, text in delta.items() if text}:
                choice = {"index": index, "delta": said, "finish_reason": None}
                events.append(event_of({**self._last, "choices": [choice]}))
        return b"".join(events)


def _says_something(choice: dict[str, Any]) -> bool:
    return bool(choice.get("delta") or choice.get("finish_reason") or choice.get("logprobs"))


def _dicts(values: object) -> list[dict[str, Any]]:
    return (
        [value for value in values if isinstance(value, dict)]
        if isinstance(values, list)
        else []
    )
