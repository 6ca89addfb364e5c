"""POST /api/query: ask a question, and be told how it was answered."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import aclosing
from typing import Any, Final

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework import serializers, status
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from servers_app import query_schema
from servers_app.apikey_models import ApiKey
from servers_app.gateway.access import Caller, user_id
from servers_app.gateway.current import CLIENT_GONE, Queried, current
from servers_app.gateway.errors import GatewayError
from servers_app.gateway.query import Query
from servers_app.gateway.sse import event_of
from servers_app.query_schema import QuerySerializer

TIMEOUT_S: Final = 1800.0  # the gateway's own timeouts are shorter, but for a slow model
CLIENT_CLOSED_REQUEST: Final = 499  # as nginx's log has it


class QueryView(APIView):
    """Answer a question: by one model, or by a draft and its revision.

    With `"stream": true` the answer is server-sent events: `stage` as one begins,
    `thinking` and `delta` with its text, and `done` with the whole; or `error`.
    """

    scope = "infer"
    permission = "servers_app.infer"

    @query_schema.QUERY
    def post(self, request: Request) -> HttpResponseBase:
        asked = QuerySerializer(data=request.data)
        if not asked.is_valid():
            raise serializers.ValidationError({"detail": _sentence(asked.errors)})
        values: dict[str, Any] = dict(asked.validated_data)
        is_stream = values.pop("stream")
        query = Query(values.pop("query"), **values)
        caller, running = _caller(request), current()
        if running is None:
            message = "No gateway runs in this process. Ask the web server of MAGI."
            raise _failure(message, status.HTTP_503_SERVICE_UNAVAILABLE)
        if is_stream:
            response = StreamingHttpResponse(
                _events(running.gateway, query, caller), content_type="text/event-stream"
            )
            response["Cache-Control"] = "no-cache"
            response["X-Accel-Buffering"] = "no"
            return response
        answering = asyncio.run_coroutine_threadsafe(
            _whole(running.gateway, query, caller), running.loop
        )
        if (gone := _client_gone(request)) is not None:
            gone.add_done_callback(lambda _gone: answering.cancel())
        try:
            return Response(answering.result(TIMEOUT_S))
        except CancelledError:
            return Response(status=CLIENT_CLOSED_REQUEST)  # to nobody
        except GatewayError as error:
            raise _failure(error.message, error.status, error.retry_after) from error
        except TimeoutError as error:
            message = f"There was no answer within {TIMEOUT_S:g} s."
            raise _failure(message, status.HTTP_504_GATEWAY_TIMEOUT) from error
        finally:
            answering.cancel()  # nothing, if it is done


def _client_gone(request: Request) -> "Future[None] | None":
    scope: Mapping[str, Any] = getattr(request, "scope", {})  # none behind WSGI
    return scope.get(CLIENT_GONE)


def _caller(request: Request) -> Caller:
    """Return who asks, as the gateway has it, and which models may answer."""
    if isinstance(request.auth, ApiKey):
        return Caller(request.auth.prefix, frozenset(request.auth.model_ids))
    if username := request.user.get_username():
        return Caller(user_id(username))
    return Caller(request.META.get("REMOTE_ADDR", ""))


async def _whole(gateway: Queried, query: Query, caller: Caller) -> dict[str, Any]:
    told: dict[str, Any] = {}
    asked = gateway.query(query, key=caller.id, model_ids=caller.model_ids)
    async with aclosing(asked) as events:
        async for event in events:
            told = event.data
    return told


async def _events(gateway: Queried, query: Query, caller: Caller) -> AsyncIterator[bytes]:
    """Give the events as they come. It runs in the loop that serves the request."""
    asked = gateway.query(query, key=caller.id, model_ids=caller.model_ids)
    try:
        async with aclosing(asked) as events:
            async for event in events:
                yield event_of(event.data, name=event.name)
    except GatewayError as error:
        yield event_of({"detail": error.message}, name="error")


def _sentence(errors: Mapping[str, Any]) -> str:
    return " ".join(
        f"{name}: {reason}" for name, reasons in errors.items() for reason in reasons
    )


def _failure(message: str, code: int, retry_after: int | None = None) -> APIException:
    failure = APIException(message)
    failure.status_code = code
    if retry_after is not None:
        failure.wait = retry_after  # type: ignore[attr-defined]  # DRF's for Retry-After
    return failure
