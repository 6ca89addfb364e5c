"""Typed readers for environment variables; each fails loudly and by name."""

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off"})


def env_str(name: str, default: str) -> str:
    """Return the variable `name`, or `default` when it is unset or empty."""
    return os.environ.get(name) or default


def env_choice(name: str, default: str, *, choices: tuple[str, ...]) -> str:
    """Return the variable `name`, lower case.

    Raises:
        ImproperlyConfigured: the value is none of `choices`.
    """
    value = env_str(name, default).strip().lower()
    if value in choices:
        return value
    msg = f"{name}={value!r} is not accepted; use one of {', '.join(choices)}."
    raise ImproperlyConfigured(msg)


def env_path(name: str, default: Path) -> Path:
    """Return the variable `name` as an absolute path, with `~` expanded."""
    return Path(os.environ.get(name) or default).expanduser().absolute()


def env_paths(name: str, default: list[Path]) -> list[Path]:
    """Return the variable `name` as paths separated by `os.pathsep`."""
    raw = os.environ.get(name, "")
    parts = [part for part in raw.split(os.pathsep) if part.strip()]
    return [Path(part).expanduser().absolute() for part in parts] or default


def env_names(name: str) -> tuple[str, ...]:
    """Return the variable `name` as names of variables, separated by commas.

    Raises:
        ImproperlyConfigured: one of them is no name.
    """
    names = tuple(part.strip() for part in os.environ.get(name, "").split(",") if part.strip())
    for part in names:
        if not part.isidentifier():
            msg = f"{name}: {part!r} is no name of a variable; separate names by commas."
            raise ImproperlyConfigured(msg)
    return names


def env_int(name: str, default: int, *, minimum: int, maximum: int) -> int:
    """Return the variable `name` as a whole number within the bounds.

    Raises:
        ImproperlyConfigured: the value is not a whole number, or out of bounds.
    """
    raw = os.environ.get(name)
    if not raw:
        return default
    try:
        value = int(raw)
    except ValueError as error:
        msg = f"{name}={raw!r} is not a whole number."
        raise ImproperlyConfigured(msg) from error
    if not minimum <= value <= maximum:
        msg = f"{name}={value} is out of bounds; use {minimum} to {maximum}."
        raise ImproperlyConfigured(msg)
    return value


def env_bool(name: str, *, default: bool) -> bool:
    """Return the variable `name` as a bool.

    Raises:
        ImproperlyConfigured: the value is neither a true word nor a false word.
    """
    raw = os.environ.get(name)
    if not raw:
        return default
    word = raw.strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    msg = f"{name}={raw!r} is not a boolean; use one of {sorted(TRUE_WORDS | FALSE_WORDS)}."
    raise ImproperlyConfigured(msg)
