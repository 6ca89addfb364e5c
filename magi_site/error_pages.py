"""What is answered where no view is: JSON to API clients, Django's pages to people."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults

from magi_site.guard import GUARDED

MAX_SHOWN_CHARS: Final = 200

_DETAILS: Final = {
    HTTPStatus.BAD_REQUEST: "This request cannot be read.",
    HTTPStatus.FORBIDDEN: "This is not allowed.",
    HTTPStatus.NOT_FOUND: "There is nothing at {path}. /api/docs/ lists what there is.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "MAGI failed. The web server's log says how.",
}


def _answer(status: HTTPStatus, page: Callable[..., HttpResponse]) -> Callable[..., Any]:
    def answer(request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        if not request.path.startswith(GUARDED):
            return page(request, *args, **options)
        detail = _DETAILS[status].format(path=request.path[:MAX_SHOWN_CHARS])
        return JsonResponse({"detail": detail}, status=status)

    return answer


bad_request = _answer(HTTPStatus.BAD_REQUEST, defaults.bad_request)
permission_denied = _answer(HTTPStatus.FORBIDDEN, defaults.permission_denied)
page_not_found = _answer(HTTPStatus.NOT_FOUND, defaults.page_not_found)
server_error = _answer(HTTPStatus.INTERNAL_SERVER_ERROR, defaults.server_error)
