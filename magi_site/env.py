"""Typed readers for environment variables; each fails loudly and by name."""

import ipaddress
import os
import re
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import dotenv
from django.core.exceptions import ImproperlyConfigured

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off"})
SLUG = re.compile(r"[-\w]{1,64}", re.ASCII)
# In queues' and workers' names, where @ and * would mean something else.
LABEL = re.compile(r"[A-Za-z0-9][-.\w]{0,62}", re.ASCII)
FLAG = re.compile(r"--?[A-Za-z][-\w]{0,63}", re.ASCII)
# Names separated by dots (RFC 1123, section 2.1); Docker's have underscores. What ends in a
# number is no name: it was to be an IP address.
HOST_NAME = re.compile(r"(\w[-\w]*\.)*(?!\d+$)\w[-\w]*", re.ASCII)


def load_env_file(path: Path) -> None:
    """Take the variables of a file, if there is one; the environment wins.

    Raises:
        ImproperlyConfigured: it cannot be read, or is no text.
    """
    try:
        dotenv.load_dotenv(path)
    except (OSError, ValueError) as error:  # of its encoding, or a NUL
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        msg = f"{path} cannot be read: {reason}. MAGI_ENV_FILE names another file."
        raise ImproperlyConfigured(msg) from error


def env_str(name: str, default: str) -> str:
    """Return the variable `name`, or `default` when it is unset or empty."""
    return os.environ.get(name) or default


def env_label(name: str, default: str) -> str:
    """Return the variable `name` as a name that may be a part of others.

    Raises:
        ImproperlyConfigured: it is none.
    """
    value = env_str(name, default).strip()
    if LABEL.fullmatch(value):
        return value
    msg = (
        f"{name}={value!r} is not accepted; give up to 63 letters, digits, - _ and ., with a "
        "letter or a digit first."
    )
    raise ImproperlyConfigured(msg)


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


def env_host(name: str, default: str) -> str:
    """Return the variable `name` as a host name or an IP address that can be reached.

    Raises:
        ImproperlyConfigured: it has a scheme, a port or a path, or names every address.
    """
    value = env_str(name, default).strip()
    try:
        is_usable = not ipaddress.ip_address(value).is_unspecified
    except ValueError:
        is_usable = HOST_NAME.fullmatch(value) is not None
    if is_usable:
        return value
    msg = (
        f"{name}={value!r} is not accepted; give the host name or the IP address at which "
        "others reach this machine, without scheme or port."
    )
    raise ImproperlyConfigured(msg)


def env_url(name: str, default: str) -> str:
    """Return the variable `name` as the address of a site, without a slash at its end.

    Raises:
        ImproperlyConfigured: it is none of http or https, or has more than a path.
    """
    value = env_str(name, default).strip().rstrip("/")
    try:
        parts = urlsplit(value)
        is_site = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # half an IPv6 address, or a port that is none
        is_site = False
    if is_site and not (parts.query or parts.fragment):
        return value
    shown = value.rpartition("@")[2]  # before that, there may be a password
    msg = f"{name}={shown!r} is not accepted; give an address such as {default}."
    raise ImproperlyConfigured(msg)


def env_time_zone(name: str, default: str) -> str:
    """Return the variable `name` as the name of a time zone.

    Raises:
        ImproperlyConfigured: there is none of that name.
    """
    value = env_str(name, default).strip()
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        msg = f"{name}={value!r} is no time zone; give a name such as Europe/Madrid."
        raise ImproperlyConfigured(msg) from error
    return value


def env_path(name: str, default: Path) -> Path:
    """Return the variable `name` as an absolute path, with `~` expanded.

    Raises:
        ImproperlyConfigured: it is in the home folder of somebody who has none.
    """
    return _path(name, os.environ.get(name) or str(default))


def env_paths(name: str, default: list[Path]) -> list[Path]:
    """Return the variable `name` as paths separated by `os.pathsep`.

    Raises:
        ImproperlyConfigured: as env_path.
    """
    raw = os.environ.get(name, "")
    parts = [part for part in raw.split(os.pathsep) if part.strip()]
    return [_path(name, part) for part in parts] or default


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


def env_networks(name: str, default: str) -> list[str]:
    """Return the variable `name` as IP addresses and networks, separated by commas.

    Raises:
        ImproperlyConfigured: one of them is neither, or is every address there is.
    """
    networks = [part.strip() for part in env_str(name, default).split(",") if part.strip()]
    for part in networks:
        try:
            is_usable = ipaddress.ip_network(part).prefixlen > 0
        except ValueError:
            is_usable = False
        if not is_usable:
            msg = (
                f"{name}: {part!r} is not accepted; give IP addresses or networks such as "
                "10.0.0.0/24, separated by commas."
            )
            raise ImproperlyConfigured(msg)
    return networks


def env_flags(name: str) -> frozenset[str]:
    """Return the variable `name` as flags of llama-server, separated by commas.

    Raises:
        ImproperlyConfigured: one of them is no flag.
    """
    flags = [part.strip() for part in os.environ.get(name, "").split(",") if part.strip()]
    for part in flags:
        if not FLAG.fullmatch(part):
            msg = f"{name}: {part!r} is no flag; give names such as --slot-save-path."
            raise ImproperlyConfigured(msg)
    return frozenset(flags)


def env_programs(name: str, *, reserved: str) -> dict[str, Path]:
    """Return the variable `name`, `NAME=PATH` separated by commas, as absolute paths by name.

    Raises:
        ImproperlyConfigured: one of them is not so, has a name that is no slug, is there
            twice, or is called `reserved`.
    """
    programs: dict[str, Path] = {}
    for part in filter(None, map(str.strip, os.environ.get(name, "").split(","))):
        key, equals, path = (piece.strip() for piece in part.partition("="))
        problem = ""
        if not equals or not path:
            problem = "is not NAME=PATH; separate programs by commas"
        elif not SLUG.fullmatch(key):
            problem = "has a name that is not made of up to 64 letters, digits, - and _"
        elif key == reserved:
            problem = f"takes a name that is taken; {reserved} is always there"
        elif key in programs:
            problem = "is the second of that name"
        if problem:
            msg = f"{name}: {part!r} {problem}."
            raise ImproperlyConfigured(msg)
        programs[key] = _path(name, path)
    return programs


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


def _path(name: str, text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        msg = f"{name}: {text!r} is in a home folder that this machine does not know."
        raise ImproperlyConfigured(msg) from error
