"""What is answered where no view is: JSON to API clients, Django's pages to people."""

import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults

from magi_site.away import RETRY_S, page
from magi_site.guard import GUARDED
from models_app.failures import failure_of
from servers_app.manager.envelope import refused

MAX_SHOWN_CHARS: Final = 200

_DETAILS: Final = {
    HTTPStatus.BAD_REQUEST: "This request cannot be read.",
    HTTPStatus.FORBIDDEN: "This is not allowed.",
    HTTPStatus.NOT_FOUND: "There is nothing at {path}. /api/docs/ lists what there is.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "MAGI failed. The web server's log says how.",
}

_CODES: Final = {
    HTTPStatus.BAD_REQUEST: "bad_request",
    HTTPStatus.FORBIDDEN: "permission_denied",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.INTERNAL_SERVER_ERROR: "error",
}


def _answer(status: HTTPStatus, page: Callable[..., HttpResponse]) -> Callable[..., Any]:
    def answer(request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        if not request.path.startswith(GUARDED):
            return page(request, *args, **options)
        detail = _DETAILS[status].format(path=request.path[:MAX_SHOWN_CHARS])
        return JsonResponse(refused(request.path, detail, _CODES[status]), status=status)

    return answer


bad_request = _answer(HTTPStatus.BAD_REQUEST, defaults.bad_request)
permission_denied = _answer(HTTPStatus.FORBIDDEN, defaults.permission_denied)
page_not_found = _answer(HTTPStatus.NOT_FOUND, defaults.page_not_found)
_failed = _answer(HTTPStatus.INTERNAL_SERVER_ERROR, defaults.server_error)


def server_error(request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
    """Answer to a request that raised; where the machine failed, say in what."""
    failure = failure_of(sys.exc_info()[1])
    if failure is None:
        answer: HttpResponse = _failed(request, *args, **options)
        return answer
    response: HttpResponse
    if request.path.startswith(GUARDED):
        body = refused(request.path, failure.detail, failure.code)
        response = JsonResponse(body, status=failure.status)
    else:
        response = HttpResponse(page(failure), status=failure.status)
    response["Retry-After"] = str(RETRY_S)
    return response
