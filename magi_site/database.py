"""DATABASES from DATABASE_URL: SQLite tuned for many threads, or PostgreSQL with a pool."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from magi_site.keepalive import POSTGRESQL

# Measured with 20 writing threads: WAL, immediate transactions and a long busy
# timeout give no "database is locked" at all. A shorter timeout is worse than it
# looks: after the first such error a threaded process can stall for whole timeouts.
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,  # seconds
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}
POOL_TIMEOUT_S = 10  # that a thread waits for a connection
POOL_IDLE_S = 60
# One attempt, and no pauses between several: after a long cut these have grown to minutes, and
# whoever asks for a connection meanwhile would wait for their end.
POOL_RECONNECT_S = 1
ENGINES = {
    "django.db.backends.sqlite3": "sqlite:///PATH",
    "django.db.backends.postgresql": "postgres://USER:PASSWORD@HOST:PORT/NAME",
}


def database_from_url(url: str, data_dir: Path, *, connections: int) -> dict[str, Any]:
    """Return Django's settings for `url`; an empty one is SQLite in `data_dir`.

    Args:
        connections: the most that a process has to PostgreSQL. Each request has a thread,
            and each thread a connection: without a bound 200 callers are more than a
            server takes.

    Raises:
        ImproperlyConfigured: the URL is not one of the two that MAGI runs on. The
            message never repeats the URL, which may hold a password.
    """
    accepted = " or ".join(ENGINES.values())
    if not url:
        url = f"sqlite:///{quote(str(data_dir / 'magi.sqlite3'))}"
    try:
        config = dict(dj_database_url.parse(url))
    except (ValueError, KeyError) as error:
        msg = f"DATABASE_URL cannot be read; use {accepted}."
        raise ImproperlyConfigured(msg) from error
    if config["ENGINE"] not in ENGINES:
        msg = f"DATABASE_URL names a database that MAGI does not run on; use {accepted}."
        raise ImproperlyConfigured(msg)
    if config["NAME"] == ":memory:":
        msg = f"DATABASE_URL names no file: each process would have its own; use {accepted}."
        raise ImproperlyConfigured(msg)
    if config["ENGINE"] == "django.db.backends.sqlite3":
        config |= {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
        name = Path(str(config["NAME"]))
        config["OPTIONS"] = SQLITE_OPTIONS
        # In a file: threads of a test share no in-memory database without locking it.
        config["TEST"] = {"NAME": str(name.with_name(f"test_{name.name}"))}
    else:
        pool = {
            "min_size": 0,
            "max_size": connections,
            "timeout": POOL_TIMEOUT_S,
            "max_idle": POOL_IDLE_S,
            "reconnect_timeout": POOL_RECONNECT_S,
        }
        config["CONN_HEALTH_CHECKS"] = True
        options: Any = config.get("OPTIONS", {})  # what the URL says goes first
        config["OPTIONS"] = {
            **POSTGRESQL,
            **options,
            "pool": pool,
        }
    return config
