"""What the audit keeps of values: what differs, as JSON has it, without secrets."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model

SECRET: Final = "(secret)"  # noqa: S105 - what stands for one
MAX_FIELD_CHARS: Final = 20_000  # of one field, as JSON: enough for a profile's models

_SECRET_WORDS: Final = frozenset(
    {
        "password", "passwd", "passphrase", "secret", "token", "credential", "credentials",
        "authorization", "bearer", "cookie", "hash", "hashed", "digest", "apikey", "key",
        "keys",
    }
)  # fmt: skip
_FLAG_AND_VALUE: Final = re.compile(r"(--?[A-Za-z][\w-]*=)")
# Keys of MAGI and Hugging Face, wherever they stand, and passwords in URLs.
_LOOKS_SECRET: Final = re.compile(
    r"\bmagi_[0-9a-f]{16,}|\bhf_[A-Za-z0-9]{20,}|(?<=://)[^/@\s]+:[^/@\s]+(?=@)"
)
# PostgreSQL takes neither in JSON.
_UNFIT: Final = re.compile("[\x00\ud800-\udfff]")


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what two mappings do not have in common, those inside them looked into as well.

    >>> differences({"a": 1, "b": {"c": 1, "d": 2}}, {"a": 1, "b": {"c": 3, "d": 2}})
    ({'b': {'c': 1}}, {'b': {'c': 3}})
    """
    was: dict[str, Any] = {}
    now: dict[str, Any] = {}
    for key in [*before, *(key for key in after if key not in before)]:
        old, new = before.get(key), after.get(key)
        if key in before and key in after and old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            was[key], now[key] = differences(old, new)
            continue
        if key in before:
            was[key] = old
        if key in after:
            now[key] = new
    return was, now


def kept(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` as the audit keeps them: as JSON, secrets masked, none of them huge.

    >>> kept({"api_key": "abc", "extra_args": ["--hf-token", "abc"], "max_tokens": 5})
    {'api_key': '(secret)', 'extra_args': ['--hf-token', '(secret)'], 'max_tokens': 5}
    """
    return {str(name): _bounded(_masked(name, value)) for name, value in values.items()}


def plain(value: Any) -> Any:
    """Return what JSON can have for `value`: for a row its name, for rows their names."""
    known: Any
    match value:
        case None | bool() | int():
            known = value
        case float():
            known = value if math.isfinite(value) else str(value)
        case Mapping():
            known = {plain(str(key)): plain(item) for key, item in value.items()}
        case str() | Model():
            known = _UNFIT.sub("\N{REPLACEMENT CHARACTER}", str(value))
        case Iterable():
            known = [plain(item) for item in value]
        case _:  # a time, a path
            known = json.loads(json.dumps(value, cls=DjangoJSONEncoder, default=str))
    return known


def is_secret(name: str) -> bool:
    """Whether a field or a flag of that name holds a secret: hf_token does, max_tokens not."""
    return not _SECRET_WORDS.isdisjoint(re.split(r"[^a-z0-9]+", name.lower()))


def _masked(name: str, value: Any) -> Any:
    if value not in (None, "", [], {}) and is_secret(str(name)):
        return SECRET
    return _inside(plain(value))


def _inside(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _masked(name, item) for name, item in value.items()}
    if isinstance(value, list):
        befores = [None, *value]  # in a command line, the flag that a value is of
        return [
            SECRET if _is_secret_flag(flag) and not _is_flag(item) else _inside(item)
            for flag, item in zip(befores, value, strict=False)
        ]
    if isinstance(value, str):
        flag = _FLAG_AND_VALUE.match(value)
        if flag and is_secret(flag[1]):
            return flag[1] + SECRET
        return _LOOKS_SECRET.sub(SECRET, value)
    return value


def _is_flag(item: Any) -> bool:
    return isinstance(item, str) and item.startswith("-")


def _is_secret_flag(item: Any) -> bool:
    return _is_flag(item) and is_secret(item)


def _bounded(value: Any) -> Any:
    length = len(json.dumps(value))
    return value if length <= MAX_FIELD_CHARS else f"({length:,} characters, not kept)"
