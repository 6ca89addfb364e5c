"""Tell the audit whose request it is, and whether it came by the admin or by the API."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.utils.decorators import sync_and_async_middleware

from models_app.acting import Actor, acting_as
from models_app.audit_models import Via

ADMIN = "/admin/"
ANYBODY = "API"  # who calls the API where nobody need say who they are
MAX_REQUEST_ID_CHARS = 128


@sync_and_async_middleware
def audit_door(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    async def answer_async(request: HttpRequest) -> Any:
        with _acting_for(request):
            return await get_response(request)

    def answer(request: HttpRequest) -> Any:
        with _acting_for(request):
            return get_response(request)

    return answer_async if iscoroutinefunction(get_response) else answer


def _acting_for(request: HttpRequest) -> AbstractContextManager[None]:
    via = Via.ADMIN if request.path.startswith(ADMIN) else Via.API
    given = request.headers.get("X-Request-Id", "")
    request_id = given if given.isprintable() else ""

    def actor() -> Actor:
        # Asked at a change: DRF finds out only in its view whose key it is, and says so here.
        name = request.user.get_username()
        who = name or (ANYBODY if via == Via.API else "")
        return Actor(who, via, request_id[:MAX_REQUEST_ID_CHARS])

    return acting_as(actor)
