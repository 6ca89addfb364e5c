"""What a rescan and its task answer, for the OpenAPI document."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers

from models_app.api_schema import WAIT, AcceptedSerializer, answer, errors
from models_app.taskstates import TaskState


class ReasonSerializer(serializers.Serializer[Any]):
    path = serializers.CharField()
    reason = serializers.CharField()


class ScanReportSerializer(serializers.Serializer[Any]):
    """What became of every file that a scan saw."""

    scan_id = serializers.IntegerField()
    timestamp = serializers.DateTimeField()
    scan_paths = serializers.ListField(child=serializers.CharField())
    files_seen = serializers.IntegerField(min_value=0)
    seconds = serializers.FloatField(min_value=0)
    models_found = serializers.IntegerField(min_value=0)
    added = serializers.ListField(child=serializers.CharField(), help_text="Ids of models.")
    updated = serializers.ListField(child=serializers.CharField())
    unchanged = serializers.ListField(child=serializers.CharField())
    missing = serializers.ListField(child=serializers.CharField())
    pruned = serializers.ListField(child=serializers.CharField())
    skipped = ReasonSerializer(many=True, help_text="Files that are no models.")
    root_errors = ReasonSerializer(many=True, help_text="Folders that were not looked into.")


class RescannedSerializer(ScanReportSerializer):
    """The report of a rescan."""

    message = serializers.CharField()


class TaskSerializer(serializers.Serializer[Any]):
    """How a task is."""

    task_id = serializers.UUIDField()
    state = serializers.ChoiceField(TaskState.choices)
    progress = serializers.DictField(
        allow_null=True, help_text="Of one that runs; a rescan has `files_seen` and `folder`."
    )
    result = serializers.DictField(
        allow_null=True, help_text="Of one that succeeded; a rescan has its report."
    )
    error = serializers.CharField(allow_null=True)


_REPORT: Final[dict[str, Any]] = {
    "scan_id": 7,
    "timestamp": "2026-11-21T20:30:00+00:00",
    "scan_paths": ["/models"],
    "files_seen": 3,
    "seconds": 0.02,
    "models_found": 2,
    "added": ["qwen3_4p0b_q4km_fast"],
    "updated": [],
    "unchanged": ["qwen2_coder_p5_14p0b_q4km_powerful"],
    "missing": [],
    "pruned": [],
    "skipped": [{"path": "/models/notes.gguf", "reason": "not a GGUF file"}],
    "root_errors": [],
}
_TASK_ID: Final = "11111111-2222-3333-4444-555555555555"
_NO_WORKER: Final = "No worker of node 'local' answers. Start one (make run starts it)."

NODE: Final = OpenApiParameter(
    "node", str, description="Whose disks are looked at; by default, the web server's machine."
)
NO_SUCH_NODE: Final = "Node not found: gpu9. Available: gpu1, gpu2."
RESCAN: Final = extend_schema(
    operation_id="rescan",
    summary="Look for models now",
    description="The node's worker looks into its scan roots. What people "
    "decided of models stays. Of two rescans at once, one waits for the other.",
    tags=["Registry and tiers"],
    parameters=[WAIT, NODE],
    request=None,
    responses={
        200: answer(
            RescannedSerializer, {"message": "Re-scan completed successfully", **_REPORT}
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
                400: "wait=soon is not a number from 0 to 600.",
                404: NO_SUCH_NODE,
                502: "The rescan failed; the worker's log says why.",
                503: _NO_WORKER,
            }
        ),
    },
)
TASK: Final = extend_schema(
    operation_id="get_task",
    summary="How a task is",
    description="Of a task that was answered with 202. What became of it is kept for an hour.",
    tags=["Registry and tiers"],
    responses={
        200: answer(
            TaskSerializer,
            {
                "task_id": _TASK_ID,
                "state": "running",
                "progress": {"files_seen": 412, "folder": "/models"},
                "result": None,
                "error": None,
            },
        ),
        **errors(
            {
                404: f"Task not found: {_TASK_ID}. What became of a task is kept for an hour.",
                503: "The queue (Redis) cannot be reached. Start it, or set REDIS_URL.",
            }
        ),
    },
)
