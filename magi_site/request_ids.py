"""Give each request to Django an id, say it in the answer, and have the logs know it.

It is the gateway's rule for /v1: an X-Request-Id that is one is taken, else one is made.
"""

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.utils.decorators import sync_and_async_middleware

from models_app.request_ids import ANSWER_HEADER, accepted_or_new, with_request_id


@sync_and_async_middleware
def request_ids(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    async def answer_async(request: HttpRequest) -> Any:
        request_id = accepted_or_new(request.headers.get("X-Request-Id"))
        with with_request_id(request_id):
            response = await get_response(request)
        response[ANSWER_HEADER] = request_id
        return response

    def answer(request: HttpRequest) -> Any:
        request_id = accepted_or_new(request.headers.get("X-Request-Id"))
        with with_request_id(request_id):
            response = get_response(request)
        response[ANSWER_HEADER] = request_id
        return response

    return answer_async if iscoroutinefunction(get_response) else answer
