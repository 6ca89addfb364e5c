"""Which settings are shown, and how: by a list of those that may be, so that no other is.

Addresses are put together from what they are made of; a password is never in them.
"""

import os
from collections.abc import Callable, Mapping
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import dotenv
from django.conf import settings
from redis.connection import parse_url

from models_app.downloads.http import without_user

ENVIRONMENT: Final = "environment"
ENV_FILE: Final = ".env"
DEFAULT: Final = "default"


class Kind(Enum):
    PLAIN = auto()
    PATH = auto()  # for those alone who may manage
    SECRET = auto()  # whether it is set, and nothing else


def _named(name: str) -> Callable[[], Any]:
    return partial(getattr, settings, name)


def _log_level() -> str:
    logging: Any = settings.LOGGING
    return str(logging["root"]["level"])


def _env_file() -> str:
    return os.environ.get("MAGI_ENV_FILE") or str(settings.BASE_DIR / ".env")


def database_address() -> str:
    """Return `postgresql://HOST:PORT/NAME`, or `sqlite` without its path."""
    database = settings.DATABASES["default"]
    vendor = str(database["ENGINE"]).rpartition(".")[2]
    if vendor == "sqlite3":
        return "sqlite"
    place = ":".join(filter(None, [str(database["HOST"]), str(database["PORT"])]))
    return f"{vendor}://{place}/{quote(str(database['NAME']))}"


def redis_address() -> str:
    """Return `redis://HOST:PORT/DB`, or `unix` without its path."""
    scheme = settings.REDIS_URL.partition("://")[0]
    if scheme == "unix":
        return "unix"
    parts: dict[str, Any] = dict(parse_url(settings.REDIS_URL))  # type: ignore[no-untyped-call]
    host, port = parts.get("host", "localhost"), parts.get("port", 6379)
    return f"{scheme}://{host}:{port}/{parts.get('db', 0)}"


def registry_address() -> str:
    """Return the address of Ollama's registry, without who asks it."""
    return without_user(settings.MAGI_OLLAMA_REGISTRY)


# Every variable of docs/configuration.md: a test compares them.
_PLAIN: Final = (
    "MAGI_PROFILE",
    "MAGI_PROFILE_VARIABLES",
    "MAGI_WATCH",
    "MODEL_PORT_RANGE_START",
    "MODEL_PORT_RANGE_END",
    "MODEL_MAX_STARTUP_TIME",
    "MODEL_STALL_TIMEOUT",
    "MODEL_WEDGE_TIMEOUT",
    "MODEL_RESTART_LIMIT",
    "MODEL_RESTART_WINDOW",
    "MODEL_CONCURRENT_STARTS",
    "MAGI_MEMORY_RESERVE_MIB",
    "MAGI_DOWNLOADS_AT_ONCE",
    "MAGI_DOWNLOAD_RESERVE_MIB",
    "MAGI_DOWNLOAD_LIMIT_KIB",
    "MAGI_COPY_PORT_RANGE_START",
    "MAGI_COPY_PORT_RANGE_END",
    "MAGI_REQUEST_LOG_DAYS",
    "MAGI_REQUEST_LOG_ROWS",
    "MAGI_USAGE_MINUTE_DAYS",
    "MAGI_EVENT_DAYS",
    "MAGI_SCAN_DAYS",
    "MAGI_HISTORY_DAYS",
    "MAGI_PARTIAL_DAYS",
    "MAGI_KEEP_PROMPTS",
    "MAGI_AUDIT_DAYS",
    "MAGI_ALLOWED_EXTRA_ARGS",
    "MAGI_ALLOW_REMOTE_MEDIA",
    "MAGI_TLS",
    "MAGI_TRUSTED_PROXIES",
    "MAGI_HSTS_SECONDS",
    "MAGI_DATABASE_CONNECTIONS",
    "MAGI_HOST",
    "MAGI_PORT",
    "MAGI_DRAIN_SECONDS",
    "MAGI_SHUTDOWN_SECONDS",
    "MAGI_API_AUTH",
    "MAGI_NODE",
    "MAGI_NODE_ADDRESS",
)
_PATHS: Final = (
    "MAGI_PROFILES_DIR",
    "MODEL_SCAN_PATH",
    "LLAMA_SERVER_PATH",
    "LLAMA_SERVER_BUILDS",
    "MAGI_DATA_DIR",
    "MAGI_COPY_DIR",
)
SETTINGS: Final[Mapping[str, tuple[Kind, Callable[[], Any]]]] = {
    **{name: (Kind.PLAIN, _named(name)) for name in _PLAIN},
    **{name: (Kind.PATH, _named(name)) for name in _PATHS},
    "MAGI_ALLOWED_HOSTS": (Kind.PLAIN, _named("ALLOWED_HOSTS")),
    "MAGI_DEBUG": (Kind.PLAIN, _named("DEBUG")),
    "MAGI_TIME_ZONE": (Kind.PLAIN, _named("TIME_ZONE")),
    "MAGI_LOG_FORMAT": (Kind.PLAIN, _named("MAGI_LOG_FORMAT")),
    "MAGI_LOG_LEVEL": (Kind.PLAIN, _log_level),
    "MAGI_REQUEST_LINES": (Kind.PLAIN, _named("MAGI_REQUEST_LINES")),
    "MAGI_ENV_FILE": (Kind.PATH, _env_file),
    "MAGI_OLLAMA_REGISTRY": (Kind.PLAIN, registry_address),
    "DATABASE_URL": (Kind.PLAIN, database_address),
    "REDIS_URL": (Kind.PLAIN, redis_address),
    "MAGI_SECRET_KEY": (Kind.SECRET, lambda: None),
}


def settings_shown(*, with_paths: bool) -> list[dict[str, Any]]:
    """Return each setting, its value in force unless that is hidden, and where it is from."""
    in_file = _env_file_values()
    return [_shown(name, in_file, with_paths=with_paths) for name in SETTINGS]


def _shown(name: str, in_file: Mapping[str, str | None], *, with_paths: bool) -> dict[str, Any]:
    kind, value = SETTINGS[name]
    is_hidden = kind == Kind.SECRET or (kind == Kind.PATH and not with_paths)
    return {
        "name": name,
        "value": None if is_hidden else _plain(value()),
        "is_hidden": is_hidden,
        "origin": _origin(name, in_file),
    }


def _origin(name: str, in_file: Mapping[str, str | None]) -> str:
    """Return where a variable is from; the file was read into the environment at the start."""
    value = os.environ.get(name)
    if not value:
        return DEFAULT
    return ENV_FILE if in_file.get(name) == value else ENVIRONMENT


def _env_file_values() -> Mapping[str, str | None]:
    try:
        return dotenv.dotenv_values(_env_file())
    except (OSError, ValueError):  # it could be read when MAGI was started
        return {}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
