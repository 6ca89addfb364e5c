"""POST /api/query: ask a question, and be told how it was answered."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework import serializers, status
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from profiles_app.serializers import StrictSerializer
from servers_app.gateway.current import Queried, current
from servers_app.gateway.errors import GatewayError
from servers_app.gateway.query import MODES, Query
from servers_app.gateway.sse import event_of

TIMEOUT_S: Final = 1800.0  # the gateway's own timeouts are shorter, but for a slow model
MAX_QUERY_CHARS: Final = 2**20


class QuerySerializer(StrictSerializer):
    query = serializers.CharField(max_length=MAX_QUERY_CHARS, trim_whitespace=False)
    mode = serializers.ChoiceField(MODES, default="auto")
    max_tokens = serializers.IntegerField(
        min_value=1, max_value=2**31 - 1, allow_null=True, default=None
    )
    temperature = serializers.FloatField(
        min_value=0, max_value=10, allow_null=True, default=None
    )
    preset = serializers.CharField(max_length=64, allow_null=True, default=None)
    stream = serializers.BooleanField(default=False)


class QueryView(APIView):
    """Answer a question: by one model, or by a draft and its revision.

    With `"stream": true` the answer is server-sent events: `stage` as one begins,
    `thinking` and `delta` with its text, and `done` with the whole; or `error`.
    """

    def post(self, request: Request) -> HttpResponseBase:
        asked = QuerySerializer(data=request.data)
        if not asked.is_valid():
            raise serializers.ValidationError({"detail": _sentence(asked.errors)})
        values: dict[str, Any] = dict(asked.validated_data)
        is_stream = values.pop("stream")
        query = Query(values.pop("query"), **values)
        running = current()
        if running is None:
            message = "No gateway runs in this process. Ask the web server of MAGI."
            raise _failure(message, status.HTTP_503_SERVICE_UNAVAILABLE)
        if is_stream:
            response = StreamingHttpResponse(
                _events(running.gateway, query), content_type="text/event-stream"
            )
            response["Cache-Control"] = "no-cache"
            response["X-Accel-Buffering"] = "no"
            return response
        answering = asyncio.run_coroutine_threadsafe(
            _whole(running.gateway, query), running.loop
        )
        try:
            return Response(answering.result(TIMEOUT_S))
        except GatewayError as error:
            raise _failure(error.message, error.status, error.retry_after) from error
        except TimeoutError as error:
            message = f"There was no answer within {TIMEOUT_S:g} s."
            raise _failure(message, status.HTTP_504_GATEWAY_TIMEOUT) from error
        finally:
            answering.cancel()  # nothing, if it is done


async def _whole(gateway: Queried, query: Query) -> dict[str, Any]:
    told: dict[str, Any] = {}
    async with aclosing(gateway.query(query)) as events:
        async for event in events:
            told = event.data
    return told


async def _events(gateway: Queried, query: Query) -> AsyncIterator[bytes]:
    """Give the events as they come. It runs in the loop that serves the request."""
    try:
        async with aclosing(gateway.query(query)) as events:
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
