"""What a request asks, read from the parsed body of any of the endpoints that write text.

A client may send anything: what has not the expected type counts as absent. Of long texts
only the two ends are kept, so that a score costs the same for a page and for a book.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

END_CHARS: Final = 4096  # kept of a text, at its beginning and at its end
SYSTEM_CHARS: Final = 2048
_MAX_MESSAGES: Final = 256  # the latest ones
_SHOWN_HEAD: Final = 320
_SHOWN_TAIL: Final = 120
_MAX_PARTS: Final = 32  # of a message, or of a list of prompts
_SYSTEM_ROLES: Final = frozenset({"system", "developer"})
_TOOL_ROLES: Final = frozenset({"tool", "function"})
_TOOL_TYPES: Final = frozenset({"tool_result", "function_call_output"})
_IMAGE_TYPES: Final = frozenset({"image", "image_url", "input_image"})


@dataclass(frozen=True, slots=True)
class Prompt:
    """The last thing that the user asks, and what stands around it. Sizes are in characters."""

    text: str = ""  # its beginning and its end, where it is long
    text_chars: int = 0  # of all of it
    system: str = ""
    system_chars: int = 0
    turns: int = 0  # messages of the user's, this one with them
    history_chars: int = 0  # of everything said before
    tools: int = 0  # that the model may call
    tool_results: int = 0  # since the user spoke last
    has_images: bool = False
    has_schema: bool = False  # the answer must be JSON of a given shape


class _Text:
    """Text that arrives in pieces; its two ends are kept."""

    def __init__(self, end_chars: int) -> None:
        self.chars = 0
        self._end_chars = end_chars
        self._head = ""
        self._tail = ""

    def add(self, piece: str) -> None:
        if not piece:
            return
        joint = "\n" if self.chars else ""
        self.chars += len(piece) + len(joint)
        room = self._end_chars - len(self._head)
        if room > 0:
            self._head += joint + piece[:room]
            piece, joint = piece[room:], ""
        if piece:
            self._tail = (self._tail + joint + piece[-self._end_chars :])[-self._end_chars :]

    def __str__(self) -> str:
        is_cut = self.chars > len(self._head) + len(self._tail)
        return f"{self._head}\n{self._tail}" if is_cut else self._head + self._tail


def read_prompt(path: str, values: Mapping[str, Any]) -> Prompt:
    """Read what a request asks; never raises.

    Args:
        path: of the request, such as /v1/chat/completions; unknown ones are read like it.
        values: the top level of its body, parsed, of whatever types a client sends.
    """
    if path == "/v1/completions":
        return _read_text(values.get("prompt"), values)
    if path == "/api/query":
        return _read_text(values.get("query"), values)
    said = values.get("input" if path == "/v1/responses" else "messages")
    if isinstance(said, str):
        return _read_text(said, values)
    return _read_messages(said if isinstance(said, list) else [], values)


def _read_text(value: object, values: Mapping[str, Any]) -> Prompt:
    text = _Text(END_CHARS)
    for piece in value[:_MAX_PARTS] if isinstance(value, list) else [value]:
        if isinstance(piece, str):
            text.add(piece)
    system = _system(values)
    return Prompt(
        text=str(text),
        text_chars=text.chars,
        system=str(system),
        system_chars=system.chars,
        turns=1,
        tools=_count(values.get("tools")),
        has_schema=_has_schema(values),
    )


def _read_messages(messages: list[Any], values: Mapping[str, Any]) -> Prompt:
    """Read a conversation from its end: first the ask, then what came before it."""
    text, system = _Text(END_CHARS), _system(values)
    turns = history_chars = tool_results = 0
    has_images = is_before = False
    for message in reversed(messages[-_MAX_MESSAGES:]):
        if not isinstance(message, dict):
            continue
        role, content = _word(message, "role"), message.get("content")
        results = _tool_results(message)
        if results and not is_before:
            tool_results += results
        pieces = list(_texts(content))
        if role in _SYSTEM_ROLES:
            for piece in pieces:
                system.add(piece)
            continue
        has_images = has_images or _has_image(content)
        if role == "user" and (pieces or not results):
            turns += 1
            if not is_before:
                is_before = True
                for piece in pieces:
                    text.add(piece)
                continue
        history_chars += sum(map(len, pieces))
    return Prompt(
        text=str(text),
        text_chars=text.chars,
        system=str(system),
        system_chars=system.chars,
        turns=turns,
        history_chars=history_chars,
        tools=_count(values.get("tools")),
        tool_results=tool_results,
        has_images=has_images,
        has_schema=_has_schema(values),
    )


def _system(values: Mapping[str, Any]) -> _Text:
    system = _Text(SYSTEM_CHARS)
    for name in ("system", "instructions"):
        for piece in _texts(values.get(name)):
            system.add(piece)
    return system


def _texts(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content[:_MAX_PARTS]:
            if isinstance(part, str):
                yield part
            elif isinstance(part, dict) and isinstance(part.get("text"), str):
                yield part["text"]


def _has_image(content: object) -> bool:
    return isinstance(content, list) and any(
        _type(part) in _IMAGE_TYPES for part in content[:_MAX_PARTS]
    )


def _tool_results(message: Mapping[str, Any]) -> int:
    """Count the tool results of a message, in the shapes of the three APIs."""
    if _word(message, "role") in _TOOL_ROLES or _type(message) in _TOOL_TYPES:
        return 1
    content = message.get("content")
    if not isinstance(content, list):
        return 0
    return sum(_type(part) in _TOOL_TYPES for part in content[:_MAX_PARTS])


def _type(part: object) -> str:
    return _word(part, "type") if isinstance(part, dict) else ""


def _word(part: Mapping[str, Any], name: str) -> str:
    """Return a field that has one word; whatever else it has is as good as nothing."""
    value = part.get(name)
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    return len(value) if isinstance(value, list) else 0


def _has_schema(values: Mapping[str, Any]) -> bool:
    """Say whether JSON is asked for: `response_format`, `text.format` or `json_schema`."""
    text = values.get("text")
    shapes = (
        values.get("response_format"),
        text.get("format") if isinstance(text, dict) else None,
    )
    return "json_schema" in values or any(_type(one).startswith("json") for one in shapes)


def ends(text: str) -> str:
    """Return what a small model is shown of a text: under 512 tokens in any language."""
    if len(text) <= _SHOWN_HEAD + _SHOWN_TAIL:
        return text
    return f"{text[:_SHOWN_HEAD]}\n{text[-_SHOWN_TAIL:]}"
