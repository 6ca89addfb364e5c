"""Find and replace the `model` of a JSON body, add defaults, and leave the rest alone."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, NoReturn

from servers_app.gateway.errors import InvalidRequestError

# A token of an object's own level, with the whitespace around it.
_OPEN = re.compile(r"[ \t\n\r]*\{[ \t\n\r]*")
_COLON = re.compile(r"[ \t\n\r]*:[ \t\n\r]*")
_COMMA_OR_CLOSE = re.compile(r"[ \t\n\r]*([,}])[ \t\n\r]*")


def _refuse_constant(name: str) -> NoReturn:
    message = f"{name} is not a JSON value"
    raise ValueError(message)


_MAX_TOKENS = frozenset({"max_tokens", "max_completion_tokens", "n_predict"})

_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


class Span(NamedTuple):
    """Where a value stands in the body, in bytes."""

    start: int
    end: int


class _Member(NamedTuple):
    key: str
    value: object
    start: int  # of the value, in characters
    end: int


@dataclass(frozen=True, slots=True)
class ModelField:
    """The `model` of a request, and what else the gateway needs of its body."""

    value: str
    spans: tuple[Span, ...]  # every top-level `model`; where there are several, the last counts
    stream: bool
    preset: str | None = None
    keys: frozenset[str] = frozenset()  # of the top level


def read_model(body: bytes) -> ModelField:
    """Find the model that a request names.

    The body is decoded once, and each value of its top level parsed once, so an
    image of 20 MB in base64 costs tens of milliseconds and no second copy.

    Raises:
        InvalidRequestError: the body is not a JSON object, or names no model.
    """
    found: list[_Member] = []
    keys: set[str] = set()
    stream, preset = False, None
    try:
        text = body.decode()
        for member in _members(text):
            keys.add(member.key)
            if member.key == "model":
                found.append(member)
            elif member.key == "stream":
                stream = member.value is True
            elif member.key == "preset":
                preset = member.value
    except json.JSONDecodeError as error:
        message = (
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        )
        raise InvalidRequestError(message) from error
    except UnicodeDecodeError as error:
        message = f"The body is not UTF-8: {error.reason} at byte {error.start}."
        raise InvalidRequestError(message) from error
    except RecursionError as error:
        message = "The body is nested too deeply."
        raise InvalidRequestError(message) from error
    except ValueError as error:  # a number beyond Python's digits, NaN or Infinity
        message = f"The body is not JSON: {error}."
        raise InvalidRequestError(message) from error
    if not found:
        message = "The request has no `model`. Name a model id, or auto."
        raise InvalidRequestError(message, param="model")
    value = found[-1].value
    if not isinstance(value, str):
        message = "`model` must be a string: a model id, or auto."
        raise InvalidRequestError(message, param="model")
    if preset is not None and not isinstance(preset, str):
        message = "`preset` must be a string: the name of a sampling preset."
        raise InvalidRequestError(message, param="preset")
    spans = tuple(_span(text, member) for member in found)
    return ModelField(value, spans, stream, preset, frozenset(keys))


def with_model(body: bytes, field: ModelField, new: str) -> bytes:
    """Return `body` with its model's name replaced and every other byte as it was.

    Where `model` stands twice, both get the new name, so that no two readers of the
    body can disagree about it.
    """
    literal = json.dumps(new).encode()
    if all(body[span.start : span.end] == literal for span in field.spans):
        return body
    view = memoryview(body)
    pieces: list[bytes | memoryview] = []
    at = 0
    for span in field.spans:
        pieces += (view[at : span.start], literal)
        at = span.end
    pieces.append(view[at:])
    return b"".join(pieces)


def with_defaults(
    body: bytes, field: ModelField, defaults: Mapping[str, Any]
) -> tuple[bytes, ModelField]:
    """Return `body` with the defaults that it does not have itself, and where its model is.

    What a request says counts, null as well; `max_tokens` under any of its names.
    """
    given = field.keys | (_MAX_TOKENS if field.keys & _MAX_TOKENS else frozenset())
    missing = {key: value for key, value in defaults.items() if key not in given}
    if not missing:
        return body, field
    at = body.index(b"{") + 1
    inserted = json.dumps(missing)[1:-1].encode() + b", "  # there is a `model` behind it
    spans = tuple(Span(s.start + len(inserted), s.end + len(inserted)) for s in field.spans)
    return b"".join((body[:at], inserted, body[at:])), replace(field, spans=spans)


def _members(text: str) -> Iterator[_Member]:
    """Walk the top level of a JSON object; the json module reads each key and value."""
    token = _OPEN.match(text)
    if token is None:
        _DECODER.decode(text)  # raises, unless it is JSON of another kind
        message = "The body must be a JSON object."
        raise InvalidRequestError(message)
    at = token.end()
    closed = text.startswith("}", at)
    if closed:
        at += 1
    while not closed:
        if not text.startswith('"', at):
            raise _syntax_error(text, at, "Expecting a name in double quotes")
        key, at = _DECODER.raw_decode(text, at)
        token = _COLON.match(text, at)
        if token is None:
            raise _syntax_error(text, at, "Expecting ':'")
        start = token.end()
        value, at = _DECODER.raw_decode(text, start)
        yield _Member(key, value, start, at)
        token = _COMMA_OR_CLOSE.match(text, at)
        if token is None:
            raise _syntax_error(text, at, "Expecting ',' or '}'")
        at = token.end()
        closed = token[1] == "}"
    if text[at:].strip(" \t\n\r"):
        raise _syntax_error(text, at, "Extra data")


def _syntax_error(text: str, at: int, what: str) -> json.JSONDecodeError:
    return json.JSONDecodeError(what, text, at)


def _span(text: str, member: _Member) -> Span:
    if text.isascii():
        return Span(member.start, member.end)
    start = len(text[: member.start].encode())
    return Span(start, start + len(text[member.start : member.end].encode()))
