"""The calls under /ai/ that show models and switch between them."""

import time
from typing import Any, Final

from django.urls import reverse
from rest_framework import status
from rest_framework.exceptions import APIException, NotFound, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_app.api import wait_seconds
from models_app.download_models import Download
from models_app.models import DiscoveredModel
from models_app.query_params import read_query
from profiles_app.api import author_of
from servers_app import following
from servers_app.apikey_models import ApiKey, Scope
from servers_app.bodies import checked_body
from servers_app.errors import UnknownNameError
from servers_app.following import Outcome
from servers_app.gateway.current import refresh_here
from servers_app.manager import schema
from servers_app.manager.answers import available_models, model_status
from servers_app.manager.current import current_model
from servers_app.manager.envelope import succeeded
from servers_app.manager.fetching import fetch, progress_of, sentence_of
from servers_app.manager.names import is_whole, may_be_pulled, name_of, origin_of, resolve
from servers_app.manager.serializers import (
    AvailableQuerySerializer,
    SelectQuerySerializer,
    SwitchRequestSerializer,
)
from servers_app.manager.suitability import (
    TASKS,
    candidates,
    enabled_ids,
    none_for,
    suitabilities,
)
from servers_app.manager.switching import Switched, switch

SHOWN: Final = 10  # models that a choice names, the best first


class AvailableModelsView(APIView):
    """The models that are here, those that could be fetched, and the current one."""

    @schema.AVAILABLE
    def get(self, request: Request) -> Response:
        query = read_query(request, AvailableQuerySerializer)
        told = available_models(refresh=query.get("refresh", False))
        here, more = len(told["installed"]), len(told["available"])
        message = f"{here} installed, {more} that could be downloaded."
        return Response(succeeded(told, message))


class ModelStatusView(APIView):
    """How the current model is: its server, its requests of the last 24 hours, its memory."""

    @schema.STATUS
    def get(self, request: Request) -> Response:
        told = model_status()
        name = told["current_model"]
        why = f": {told['error']}" if told["error"] else "."
        message = f"{name} is {told['status']}{why}" if name else NOBODY
        return Response(succeeded(told, message))


NOBODY: Final = "Nobody has switched to a model yet: POST /ai/switch-model does that."


class SelectModelView(APIView):
    """The model that suits a task best, and why."""

    @schema.SELECT
    def get(self, request: Request) -> Response:
        query = read_query(request, SelectQuerySerializer)
        task, only_enabled = query["task"], query.get("enabled", False)
        by_task = suitabilities(candidates(only_enabled=only_enabled))
        ranked, enabled = by_task[task], enabled_ids()
        if not ranked:
            raise none_for(task, only_enabled=only_enabled)
        best = ranked[0]
        data = {
            "task": task,
            "model_name": name_of(best.model),
            "model_id": best.model.model_id,
            "display_name": best.model.display_name,
            "score": best.score,
            "reasons": best.reasons,
            "enabled": best.model.model_id in enabled,
            "task_suitability": {
                each: next(
                    (other.score for other in by_task[each] if other.model == best.model), None
                )
                for each in TASKS
            },
            "candidates": [
                {
                    "model_name": name_of(each.model),
                    "model_id": each.model.model_id,
                    "score": each.score,
                    "enabled": each.model.model_id in enabled,
                }
                for each in ranked[:SHOWN]
            ],
        }
        message = f"{name_of(best.model)} suits {task} best: {best.score:.1f} of 10."
        return Response(succeeded(data, message))


class SwitchModelView(APIView):
    """Make a model the current one, enable it, and wait until it is loaded."""

    permission = "profiles_app.change_profile"

    @schema.SWITCH
    def post(self, request: Request) -> Response:
        wait_s, began = wait_seconds(request), time.monotonic()
        asked = checked_body(SwitchRequestSerializer, request.data)
        name, who = asked["model_name"], author_of(request)
        try:
            model = resolve(name)
        except UnknownNameError as error:
            if not may_be_pulled(name):
                raise
            if not asked["auto_pull"]:
                message = f"{error} With auto_pull: true it is asked for at its hub."
                raise UnknownNameError(message) from error
        else:
            if is_whole(model) or not asked["auto_pull"]:
                switched = switch(model, who=who)
                return _when_loaded(switched, model, wait_s=wait_s, began=began)
            name = origin_of(model)
        require_permission(request, "models_app.add_download")
        before = current_model()
        download = fetch(name, auto_switch=True, who=who, wait_s=wait_s)
        if download.model is None or download.is_under_way:
            return _while_downloading(request, download, before)
        # It has been switched to by its download, but for what may be in the way of that.
        switched = switch(download.model, who=who)._replace(previous=before)
        left_s = max(0.0, wait_s - _since(began))
        return _when_loaded(switched, download.model, wait_s=left_s, began=began)


def _when_loaded(
    switched: Switched, model: DiscoveredModel, *, wait_s: float, began: float
) -> Response:
    """Answer when a model is loaded that was switched to, has failed, or the time is over.

    Args:
        began: when that was asked, of time.monotonic().
    """
    server = switched.server
    if not switched.was_loaded:
        found = following.wait_for([server.pk], following.start_outcome, seconds=wait_s)
        if not found:
            message = "The server was removed meanwhile, with its model."
            raise NotFound(message)
        server = found[0]
    match following.start_outcome(server):
        case Outcome.DONE:
            refresh_here()
            data = _switched(switched, model, "active", round(1000 * _since(began)))
            return Response(succeeded(data, f"Successfully switched to {name_of(model)}"))
        case Outcome.FAILED:
            raise failure(following.failure_text(server), status.HTTP_502_BAD_GATEWAY, "failed")
        case Outcome.OVERRULED:
            text = following.overruled_text(server)
            raise failure(text, status.HTTP_409_CONFLICT, "overruled")
    data = _switched(switched, model, "loading", None)
    message = f"Switching to {name_of(model)}. {following.pending_text(server)}"
    return Response(succeeded(data, message), status=status.HTTP_202_ACCEPTED)


def _switched(
    switched: Switched, model: DiscoveredModel, word: str, load_ms: int | None
) -> dict[str, Any]:
    return {
        "previous_model": name_of(switched.previous) if switched.previous else None,
        "current_model": name_of(model),
        "status": word,
        "load_time_ms": load_ms,
        "model_id": model.model_id,
        "display_name": model.display_name,
        "was_loaded": switched.was_loaded,
        "download": None,
        "status_url": reverse("ai-model-status"),
    }


def _while_downloading(
    request: Request, download: Download, current: DiscoveredModel | None
) -> Response:
    """Answer 202 for a switch that is made when the model is there."""
    name = name_of(current) if current else None
    data = {
        "previous_model": name,
        "current_model": name,
        "status": "downloading",
        "load_time_ms": None,
        "model_id": None,
        "display_name": None,
        "was_loaded": False,
        "download": progress_of(download, with_paths=may_see_paths(request)),
        "status_url": reverse("ai-download", args=[download.pk]),
    }
    message = f"{sentence_of(download)} MAGI switches to it when it is there."
    return Response(succeeded(data, message), status=status.HTTP_202_ACCEPTED)


def _since(began: float) -> float:
    return time.monotonic() - began


# -- what all of them share


def may_see_paths(request: Request) -> bool:
    """Whether who asks may be told where things lie on the disk: as who may change servers."""
    if isinstance(request.auth, ApiKey):
        return Scope.MANAGE in request.auth.scopes
    # Nobody has signed in, and was let in: the API is open to this machine.
    return not request.user.is_authenticated or request.user.has_perm(
        "servers_app.change_server"
    )


def require_permission(request: Request, permission: str) -> None:
    """Make sure that a person may do something more than the call itself asks for.

    Raises:
        PermissionDenied: they may not.
    """
    if request.user.is_authenticated and not request.user.has_perm(permission):
        msg = f"Your account may not do this: it does not have the permission {permission}."
        raise PermissionDenied(msg)


def failure(message: str, code: int, word: str) -> APIException:
    error = APIException(message, word)
    error.status_code = code
    error.code = word  # type: ignore[attr-defined]  # the envelope's word for programs
    return error
