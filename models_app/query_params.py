"""What stands behind the `?` of a list call: read by a serializer, refused by name."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from drf_spectacular.drainage import set_override
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

NEGOTIATED: Final = "format"  # DRF has read it before any view does
MAX_SHOWN_CHARS: Final = 100
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


class Choice(serializers.ChoiceField):
    """One of several words; who sends another is told them all."""

    def __init__(self, words: Sequence[str], **options: Any) -> None:
        text = f"it is one of: {', '.join(words)}."
        super().__init__(
            words, error_messages={"invalid_choice": text, "required": text}, **options
        )
        set_override(self, "field", {"type": "string", "enum": [*words]})


class Text(serializers.CharField):
    """Some text, to be looked for. PostgreSQL takes no NUL character, and no row has one."""

    def __init__(self, max_chars: int, **options: Any) -> None:
        super().__init__(max_length=max_chars, allow_blank=True, **options)

    def to_internal_value(self, data: Any) -> str:
        return super().to_internal_value(data).replace("\0", REPLACEMENT)


class TrueOrFalse(serializers.BooleanField):
    """`true` or `false`, in any case. DRF's takes `on`, `y` and `1`, too, and tells nobody."""

    default_error_messages = {"invalid": "it is true or false."}

    def to_internal_value(self, data: Any) -> bool:
        word = str(data).lower()
        if word not in ("true", "false"):
            self.fail("invalid")
        return word == "true"


class WholeNumber(serializers.IntegerField):
    """A number between two."""

    def __init__(self, minimum: int, maximum: int, **options: Any) -> None:
        text = f"it is a number from {minimum} to {maximum}."
        errors = ("invalid", "min_value", "max_value", "max_string_length")
        words: dict[str, Any] = dict.fromkeys(errors, text)
        super().__init__(min_value=minimum, max_value=maximum, error_messages=words, **options)


def read_query(
    request: Request, serializer_class: type[serializers.Serializer[Any]]
) -> Mapping[str, Any]:
    """Return the query's parameters, checked; those that were not given are left out.

    Raises:
        ValidationError: one is unknown, given twice, or wrong. The message names it, and
            what is accepted.
    """
    given = request.query_params
    serializer = serializer_class(data=given.dict())
    for name in given:
        if name not in serializer.fields and name != NEGOTIATED:
            accepted = ", ".join(sorted(serializer.fields))
            raise _refusal(name, f"there is no such parameter. Accepted: {accepted}.")
        if len(given.getlist(name)) > 1:
            raise _refusal(name, "it is given more than once.")
    if not serializer.is_valid():
        name, (why, *_) = next(iter(serializer.errors.items()))
        raise _refusal(f"{name}={given[name]}" if name in given else name, why)
    query: Mapping[str, Any] = serializer.validated_data
    return query


def _refusal(what: str, why: str) -> ValidationError:
    return ValidationError({"detail": f"{what[:MAX_SHOWN_CHARS]}: {why}"})
