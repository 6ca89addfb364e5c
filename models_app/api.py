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

from models_app import tasks
from models_app.queue import enqueue, is_done_within, require_worker

DEFAULT_WAIT_S = 30
MAX_WAIT_S = 600


class RescanView(APIView):
    """Have the node's worker look for models, and wait for its report."""

    def post(self, request: Request) -> Response:
        wait = wait_seconds(request)
        require_worker(settings.MAGI_NODE)
        result = enqueue(tasks.rescan, settings.MAGI_NODE, node=settings.MAGI_NODE)
        if not is_done_within(result, wait):
            return accepted(result, "The rescan has been queued")
        if result.failed():
            detail = "The rescan failed; the worker's log says why."
            return Response({"detail": detail}, status=status.HTTP_502_BAD_GATEWAY)
        report: Any = result.result
        return Response({"message": "Re-scan completed successfully", **report})


class TaskView(APIView):
    """How far a queued task is. Results are kept for an hour."""

    def get(self, request: Request, task_id: UUID) -> Response:
        result: AsyncResult[Any] = AsyncResult(str(task_id))
        ended_well = result.successful()
        return Response(
            {
                "task_id": str(task_id),
                "state": result.state.lower(),
                "progress": None,
                "result": result.result if ended_well else None,
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
        raise ValidationError({"detail": f"wait={raw} is not a number from 0 to {MAX_WAIT_S}."})
    return seconds


def accepted(result: "AsyncResult[Any]", message: str) -> Response:
    """Answer 202 for work that goes on."""
    body = {
        "message": message,
        "task_id": result.id,
        "status_url": reverse("task", args=[result.id]),
    }
    return Response(body, status=status.HTTP_202_ACCEPTED)
