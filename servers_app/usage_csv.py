"""Usage as CSV: as spreadsheets and scripts read it, sent while it is read."""

import csv
from collections.abc import AsyncIterator, Iterator
from io import StringIO
from itertools import islice
from typing import Final

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone

from servers_app.apikey_models import ApiKey
from servers_app.usage import By, Sums, rows_of

CHUNK: Final = 500  # lines that are sent at once
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would work out
FIGURES: Final = (
    "Requests",
    "Failures",
    "Tokens in",
    "Tokens in from the cache",
    "Tokens out",
    "Mean time to the first byte (ms)",
    "Mean time of a request (ms)",
    "Tokens out per second",
)


def csv_response(request: HttpRequest, days: int, by: By) -> StreamingHttpResponse:
    """Answer with what usage comes to: a line for each model, or key, of each day or hour."""
    pieces = _pieces(_lines(days, by))
    # Under ASGI, Django would read all of a plain iterator before it sent any.
    is_async = isinstance(request, ASGIRequest)
    response = StreamingHttpResponse(
        _in_thread(pieces) if is_async else pieces, content_type="text/csv; charset=utf-8"
    )
    name = f"magi-usage-{days}-days-by-{by}-{timezone.localdate():%Y-%m-%d}.csv"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _lines(days: int, by: By) -> Iterator[list[object]]:
    who = ["Model"] if by is By.MODEL else ["Asked by", "Name of the key"]
    yield ["From", "To", *who, *FIGURES]
    names = dict(ApiKey.objects.order_by().values_list("prefix", "name"))
    for stretch, name, sums in rows_of(days, by):
        called = [name] if by is By.MODEL else [name, names.get(name, "")]
        start, end = (timezone.localtime(at).isoformat() for at in stretch)
        yield [start, end, *map(_harmless, called), *_figures(sums)]


def _figures(sums: Sums) -> list[object]:
    means = (sums.mean_first_byte_ms, sums.mean_total_ms, sums.tokens_per_s)
    return [
        sums.requests,
        sums.failures,
        sums.prompt_tokens,
        sums.cached_tokens,
        sums.completion_tokens,
        *("" if mean is None else round(mean, 1) for mean in means),
    ]


def _harmless(text: str) -> str:
    """Return what no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _pieces(lines: Iterator[list[object]]) -> Iterator[str]:
    while some := list(islice(lines, CHUNK)):
        text = StringIO()
        csv.writer(text).writerows(some)
        yield text.getvalue()


async def _in_thread(pieces: Iterator[str]) -> AsyncIterator[str]:
    def following() -> str:
        return next(pieces, "")

    while piece := await sync_to_async(following)():
        yield piece
