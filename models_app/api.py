import math
from typing import Any
from uuid import UUID

from celery.result import AsyncResult
from django.conf import settings
from django.urls import reverse
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_app import task_schema
from models_app.api_schema import DEFAULT_WAIT_S, MAX_WAIT_S
from models_app.queue import is_done_within
from models_app.rescans import request_rescan
from models_app.taskstates import TaskState, follow

MAX_SHOWN_CHARS = 100


class RescanView(APIView):
    """Have the node's worker look for models, and wait for its report."""

    permission = "models_app.add_scan"

    @task_schema.RESCAN
    def post(self, request: Request) -> Response:
        wait = wait_seconds(request)
        node = request.query_params.get("node") or settings.MAGI_NODE
        result = request_rescan(node[:MAX_SHOWN_CHARS])
        if not is_done_within(result, wait):
            return accepted(result, "The rescan has been queued")
        if result.failed():
            detail = "The rescan failed; the worker's log says why."
            return Response({"detail": detail}, status=status.HTTP_502_BAD_GATEWAY)
        report: Any = result.result
        return Response({"message": "Re-scan completed successfully", **report})


class TaskView(APIView):
    """How a task is that was answered with 202. What became of it is kept for an hour."""

    @task_schema.TASK
    def get(self, request: Request, task_id: UUID) -> Response:
        task = follow(str(task_id))
        has_failed = task.state == TaskState.FAILURE
        return Response(
            {
                "task_id": str(task_id),
                "state": task.state,
                "progress": task.progress,
                "result": task.result,
                "error": "It failed; the worker's log says why." if has_failed else None,
            }
        )


def wait_seconds(request: Request) -> float:
    """Return `?wait=`, in seconds: how long the caller waits for a worker.

    Raises:
        ValidationError: it is not a number from 0 to 600.
    """
    raw = request.query_params.get("wait", str(DEFAULT_WAIT_S))
    try:
        seconds = float(raw)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= MAX_WAIT_S:
        shown = raw[:MAX_SHOWN_CHARS]
        detail = f"wait={shown} is not a number from 0 to {MAX_WAIT_S}."
        raise ValidationError({"detail": detail})
    return seconds


def accepted(result: "AsyncResult[Any]", message: str) -> Response:
    """Answer 202 for work that goes on."""
    body = {
        "message": message,
        "task_id": result.id,
        "status_url": reverse("task", args=[result.id]),
    }
    return Response(body, status=status.HTTP_202_ACCEPTED)
