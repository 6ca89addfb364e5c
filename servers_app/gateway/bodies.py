"""Find and replace the `model` of a JSON body, add defaults, and leave the rest alone."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple, NoReturn

from models_app.nesting import MAX_DEPTH, is_deeper
from servers_app.gateway.errors import InvalidRequestError

# What stands between the tokens of an object's own level.
_OPEN: Final = re.compile(r"[ \t\n\r{]*")
_COLON: Final = re.compile(r"[ \t\n\r:]*")
_COMMA: Final = re.compile(r"[ \t\n\r,]*")
_MODEL: Final = re.compile(r'"model"[ \t\n\r]*:[ \t\n\r]*(?=")')


def _refuse_constant(name: str) -> NoReturn:
    message = f"{name} is not a JSON value"
    raise ValueError(message)


# n_discard: below 0 llama-server writes past its buffers (CVE-2026-21869, builds before
# April 2026); above what its context holds it dies (builds before June 2026). 0 is its default.
# id_slot: another's slot would lose its cache, and its owner would wait. -1 is any.
_ONLY_VALUES: Final = {"n_discard": 0, "id_slot": -1}

_MAX_TOKENS = frozenset({"max_tokens", "max_completion_tokens", "n_predict"})

_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


class Span(NamedTuple):
    """Where a value stands in the body, in bytes."""

    start: int
    end: int


@dataclass(slots=True)  # not frozen: each request makes one, and frozen ones are slow to make
class ModelField:
    """The `model` of a request, and what else the gateway needs of its body."""

    value: str
    spans: tuple[Span, ...]  # every top-level `model`; where there are several, the last counts
    stream: bool
    preset: str | None = None
    keys: frozenset[str] = frozenset()  # of the top level
    # The top level as parsed: shared, so nobody may change what is in it.
    values: Mapping[str, Any] = field(
        default_factory=lambda: MappingProxyType({}), compare=False, repr=False
    )


def read_model(body: bytes) -> ModelField:
    """Find the model that a request names.

    The body is decoded once and parsed once: an image of 20 MB in base64 costs tens of
    milliseconds, and no copy beyond its text and its parsed self.

    Raises:
        InvalidRequestError: the body is not a JSON object, names no model, or has a field
            that no server gets.
    """
    try:
        text = body.decode()
        values, spans = _parse(text)
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
    if is_deeper(values):
        message = f"The body is nested too deeply: more than {MAX_DEPTH} levels."
        raise InvalidRequestError(message)
    if "model" not in values:
        message = "The request has no `model`. Name a model id, or auto."
        raise InvalidRequestError(message, param="model")
    value = values["model"]
    if not isinstance(value, str):
        message = "`model` must be a string: a model id, or auto."
        raise InvalidRequestError(message, param="model")
    preset = values.get("preset")
    if preset is not None and not isinstance(preset, str):
        message = "`preset` must be a string: the name of a sampling preset."
        raise InvalidRequestError(message, param="preset")
    for name, allowed in _ONLY_VALUES.items():
        given = values.get(name, allowed)
        if type(given) is not int or given != allowed:
            message = f"`{name}` is not for clients to set. Leave it out, or make it {allowed}."
            raise InvalidRequestError(message, param=name)
    stream = values.get("stream") is True
    return ModelField(value, spans, stream, preset, frozenset(values), values)


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
    if not defaults:
        return body, field
    given = field.keys | (_MAX_TOKENS if field.keys & _MAX_TOKENS else frozenset())
    missing = {key: value for key, value in defaults.items() if key not in given}
    if not missing:
        return body, field
    at = body.index(b"{") + 1
    inserted = json.dumps(missing)[1:-1].encode() + b", "  # there is a `model` behind it
    spans = tuple(Span(s.start + len(inserted), s.end + len(inserted)) for s in field.spans)
    return b"".join((body[:at], inserted, body[at:])), replace(field, spans=spans)


def _parse(text: str) -> tuple[dict[str, Any], tuple[Span, ...]]:
    """Return the top level of a body, and where each `model` of it stands."""
    values = _DECODER.decode(text)
    if not isinstance(values, dict):
        message = "The body must be a JSON object."
        raise InvalidRequestError(message)
    if "model" not in values:
        return values, ()
    # With none of its letters escaped, the key is spelt out; if that is there once, it is it.
    if text.count('"model"') == 1 and "\\u006" not in text:
        token = _MODEL.search(text)
        if token is not None:
            _, end = _DECODER.raw_decode(text, token.end())
            return values, (_span(text, token.end(), end),)
    return values, tuple(_model_spans(text))


def _model_spans(text: str) -> Iterator[Span]:
    """Walk the top level of an object that is known to be valid."""
    at = _skipped(_OPEN, text, 0)
    while text[at] == '"':
        key, at = _DECODER.raw_decode(text, at)
        start = _skipped(_COLON, text, at)
        _, at = _DECODER.raw_decode(text, start)
        if key == "model":
            yield _span(text, start, at)
        at = _skipped(_COMMA, text, at)


def _skipped(pattern: re.Pattern[str], text: str, at: int) -> int:
    token = pattern.match(text, at)
    return at if token is None else token.end()


def _span(text: str, start: int, end: int) -> Span:
    """Return a place in bytes that is known in characters."""
    if text.isascii():
        return Span(start, end)
    start_byte = len(text[:start].encode())
    return Span(start_byte, start_byte + len(text[start:end].encode()))
