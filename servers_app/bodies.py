"""What is sent to a call: checked, or refused with what is wrong where."""

from itertools import islice
from typing import Any, Final

from rest_framework import serializers

from profiles_app.serializers import problems_of
from profiles_app.variables import path_text

MOST_TOLD: Final = 10  # a list may be wrong in each of its items


def checked_body(kind: type[serializers.Serializer[Any]], data: object) -> dict[str, Any]:
    """Return what was sent, as `kind` has it.

    Raises:
        ValidationError: something is wrong; the message names each place, up to ten.
    """
    sent = kind(data=data)
    if not sent.is_valid():
        problems = islice(problems_of(sent.errors), MOST_TOLD)
        told = (f"{path_text(path) or 'the body'}: {text}" for path, text in problems)
        raise serializers.ValidationError({"detail": " ".join(told)})
    return dict(sent.validated_data)
