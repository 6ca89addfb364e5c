"""The calls that have a model's files read, or compared with the hub's."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from celery.result import AsyncResult
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_app import file_check_schema
from models_app.api import accepted, wait_seconds
from models_app.downloads.outcomes import error_of
from models_app.file_check_service import request_hub_check, request_verification
from models_app.lookup import get_model
from models_app.models import DiscoveredModel
from models_app.query_params import REPLACEMENT
from models_app.queue import is_done_within

STATUSES: Final = {  # by the word for programs that goes with a trouble
    "gone": status.HTTP_404_NOT_FOUND,
    "changed": status.HTTP_409_CONFLICT,
    "elsewhere": status.HTTP_409_CONFLICT,
    "busy": status.HTTP_409_CONFLICT,
    "unreadable": status.HTTP_502_BAD_GATEWAY,
}

Ask = Callable[[DiscoveredModel], "AsyncResult[Any]"]


class VerifyView(APIView):
    """Read every byte of a model, and say whether it is what it should be."""

    permission = "models_app.change_discoveredmodel"

    @file_check_schema.VERIFY
    def post(self, request: Request, model_id: str) -> Response:
        node = request.query_params.get("node", "").replace("\0", REPLACEMENT)
        return _answer(
            request, model_id, partial(request_verification, node=node), "verification"
        )


class HubCheckView(APIView):
    """Compare a model's files with those that the hub has now."""

    permission = "models_app.change_discoveredmodel"

    @file_check_schema.CHECK
    def post(self, request: Request, model_id: str) -> Response:
        return _answer(request, model_id, request_hub_check, "check")


def _answer(request: Request, model_id: str, ask: Ask, what: str) -> Response:
    wait, model = wait_seconds(request), get_model(model_id)
    task = ask(model)
    if not is_done_within(task, wait):
        return accepted(task, f"The {what} of {model.model_id} has been queued")
    if task.failed():
        detail = f"The {what} failed; the worker's log says why."
        return Response({"detail": detail}, status=status.HTTP_502_BAD_GATEWAY)
    result: Any = task.result
    found = dict(result)
    problem, code = found.pop("problem"), found.pop("code")
    if code in STATUSES:
        return Response({"detail": problem}, status=STATUSES[code])
    if problem:
        raise error_of(code, problem)
    return Response(found)
