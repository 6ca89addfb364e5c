"""What must hold before anything is started; each failure is one sentence."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection
from redis import Redis, RedisError

from magi_site.datadir import make_private_dir

REDIS_TIMEOUT_S = 3


@contextmanager
def single_run(run_dir: Path) -> Iterator[None]:
    """Be the only `run` over this data folder; the kernel lets go when we die.

    Raises:
        ImproperlyConfigured: another one runs, or the folder is not ours to write.
    """
    make_private_dir(settings.MAGI_DATA_DIR)
    make_private_dir(run_dir)
    with (run_dir / "run.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            who = file.read().strip() or "unknown"
            msg = (
                f"MAGI runs already over {settings.MAGI_DATA_DIR} (pid {who}). Stop it, or set "
                "MAGI_DATA_DIR to another folder."
            )
            raise ImproperlyConfigured(msg) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def check_port(host: str, port: int) -> None:
    """Make sure that the web server can listen.

    Raises:
        ImproperlyConfigured: the port is taken, or the address is not this machine's.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        msg = (
            f"Cannot listen on {host} port {port}: {error.strerror or error}. "
            "Set MAGI_PORT to a free port, MAGI_HOST to an address of this machine."
        )
        raise ImproperlyConfigured(msg) from error


def check_database() -> None:
    """Make sure that the database answers.

    Raises:
        ImproperlyConfigured: it does not.
    """
    try:
        connection.ensure_connection()
    except OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        msg = f"The database cannot be reached: {reason}. Check DATABASE_URL."
        raise ImproperlyConfigured(msg) from error


def check_redis() -> None:
    """Make sure that the Redis of REDIS_URL answers; without one, we start our own.

    Raises:
        ImproperlyConfigured: it does not.
    """
    if settings.OWN_REDIS:
        return
    try:
        with Redis.from_url(
            settings.REDIS_URL, socket_connect_timeout=REDIS_TIMEOUT_S
        ) as redis:
            redis.ping()
    except (RedisError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        msg = f"Redis cannot be reached: {reason}. Check REDIS_URL, or unset it."
        raise ImproperlyConfigured(msg) from error
