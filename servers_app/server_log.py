"""The log of a server on its page of the admin, and as a file to keep."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from servers_app import logs
from servers_app.following import last_lines
from servers_app.lookup import find_server, is_here
from servers_app.models import Server

LOG_LINES: Final = 200
PLAIN: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class ShownLog:
    """The log on a page: its end, and where its next lines come from."""

    text: str
    stream: str  # the address that is listened to; empty: nobody can follow it from here
    elsewhere: str  # where the file is, if not on this machine


def shown_log(server: Server) -> ShownLog:
    has_file = is_here(server) or logs.log_path(server.pk).exists()
    # The API finds a server by its model; of a model that has moved it gives another one's.
    found = find_server(server.model, server.replica) if has_file else None
    stream = ""
    if found is not None and found.pk == server.pk:
        model_id = quote(server.model.model_id)
        stream = f"/api/models/servers/{model_id}/logs?replica={server.replica}"
    elsewhere = "" if has_file else f"servers/{server.pk}/server.log"
    return ShownLog(last_lines(server, LOG_LINES), stream, elsewhere)


def log_file(server: Server) -> HttpResponseBase:
    """Answer with all that is kept of a log, streamed; of one elsewhere with its end."""
    response: HttpResponseBase
    if logs.log_path(server.pk).exists():
        response = StreamingHttpResponse(_pieces(server.pk), content_type=PLAIN)
    else:
        response = HttpResponse(last_lines(server, LOG_LINES), content_type=PLAIN)
    name = f"{server.model.model_id}-{server.replica}.log"
    response["Content-Disposition"] = f'attachment; filename="{quote(name)}"'
    response["Cache-Control"] = "no-store"
    return response


async def _pieces(server_id: int) -> AsyncIterator[bytes]:
    """Give the log piece by piece; the disk is read beside the loop that serves requests."""
    pieces = logs.whole(server_id)
    try:
        while piece := await asyncio.to_thread(next, pieces, ""):
            yield piece.encode()
    finally:
        await asyncio.to_thread(pieces.close)
