"""What the calls under /ai/ answer in: the shape of seed 004, whether they succeed or fail."""

import re
from collections.abc import Mapping
from typing import Any, Final

from django.utils import timezone

PREFIX: Final = "/ai/"
_WORD_START: Final = re.compile(r"(?<!^)(?=[A-Z])")


def succeeded(data: Mapping[str, Any], message: str) -> dict[str, Any]:
    return {"success": True, "data": data, "message": message, "timestamp": _now()}


def failed(why: str, code: str) -> dict[str, Any]:
    """Return the answer to a call that came to nothing.

    Args:
        why: a sentence. Some clients show `error` and some `message`: it is in both.
        code: a word for programs.
    """
    return {
        "success": False, "error": why, "code": code, "message": why, "timestamp": _now(),
    }  # fmt: skip


def refused(path: str, why: str, code: str | None) -> dict[str, Any]:
    """Return the body of a refusal, as clients of that path expect it."""
    return failed(why, code or "refused") if path.startswith(PREFIX) else {"detail": why}


def code_of(error: BaseException) -> str:
    """Return a word for an error: its own, or what its class is called.

    >>> code_of(KeyError()), code_of(FileNotFoundError())
    ('key', 'file_not_found')
    """
    for attribute in ("code", "default_code"):
        if isinstance(word := getattr(error, attribute, None), str):
            return word
    name = type(error).__name__.removesuffix("Error")
    return _WORD_START.sub("_", name).lower()


def _now() -> str:
    return timezone.now().isoformat()
