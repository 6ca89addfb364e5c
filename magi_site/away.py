"""Answer within seconds while the database is away, or hangs: with a page that says so.

Each request to Django has a thread, which waits for the database as long as that takes: ten
seconds for a connection, and for ever for an answer that does not come. So who asks is not
made to wait for the thread: a request that takes long is a reason to look at the database,
and one that does not answer either is told of. Nothing is looked at while answers come.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any, Final

from django.template.loader import render_to_string

from magi_site.bodies import Application
from magi_site.guard import GUARDED, SAFE_METHODS
from magi_site.headers import HEADERS
from magi_site.operations import looks
from magi_site.operations.component import Component, Health
from magi_site.operations.parts import look_at_database
from models_app.failures import DATABASE_AWAY, DATABASE_HANGS, Failure
from servers_app.gateway.asgi import SAFE, Message, Receive, Scope, Send
from servers_app.manager.envelope import refused

log = logging.getLogger(__name__)

PATIENCE_S: Final = 2.0  # with a request; pages take less
LOOK_S: Final = 1.0  # that the database has then
RETRY_S: Final = 5
# What needs no database, or tells of it itself.
APART: Final = ("/static/", "/favicon.ico", "/api/admin/health")

Look = Callable[[], Component]


class DatabaseWatch:
    """Django's application, or a page of ours where the database does not answer."""

    def __init__(self, application: Application, look: Look = look_at_database) -> None:
        self._application = application
        self._look = look
        self._is_away = False
        self._left: set[asyncio.Task[None]] = set()  # whose threads wait still

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(APART):
            await self._application(scope, receive, send)
            return
        if self._is_away and not await self._answers():
            await answer(scope, send, DATABASE_AWAY)
            return
        await self._watched(scope, receive, send)

    async def _watched(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = asyncio.Event()
        is_left = False

        async def send_on(message: Message) -> None:
            if not is_left:
                has_begun.set()
                await send(message)

        task = asyncio.ensure_future(self._application(scope, receive, send_on))
        try:
            while not (has_begun.is_set() or task.done()):
                await asyncio.wait({task}, timeout=PATIENCE_S)
                if has_begun.is_set() or task.done() or await self._answers():
                    continue
                if not (has_begun.is_set() or task.done()):  # while it was looked at
                    is_left = True
                    self._leave(task)
                    is_safe = scope["method"] in SAFE_METHODS
                    await answer(scope, send, DATABASE_AWAY if is_safe else DATABASE_HANGS)
                    return
            await task
        except asyncio.CancelledError:
            task.cancel()
            raise

    async def _answers(self) -> bool:
        """Return whether the database answers now; all who ask wait for one look."""
        future = asyncio.wrap_future(looks.begin("database for pages", self._look))
        try:
            # Shielded: who waits for the same look is not to lose it.
            found = await asyncio.wait_for(asyncio.shield(future), LOOK_S)
            is_away = found.status == Health.UNAVAILABLE
        except Exception:  # whatever it is, there is no answer
            is_away = True
            future.add_done_callback(_forget)
        if is_away != self._is_away:
            log.warning("The database %s", "does not answer" if is_away else "answers again")
        self._is_away = is_away
        return not is_away

    def _leave(self, task: "asyncio.Task[None]") -> None:
        """Let go of a request: its thread ends when the database says something."""
        self._left.add(task)
        task.add_done_callback(self._left.discard)
        task.add_done_callback(_forget)


async def answer(scope: Scope, send: Send, failure: Failure) -> None:
    """Answer with a failure as clients of that path expect it."""
    path: str = scope["path"]
    if path.startswith(GUARDED):
        kind = b"application/json"
        body = json.dumps(refused(path, failure.detail, failure.code)).encode()
    else:
        kind, body = b"text/html; charset=utf-8", page(failure).encode()
    own = [(name.lower().encode(), value.encode()) for name, value in HEADERS]
    names = {name for name, _ in own}
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(RETRY_S).encode()),
        (b"x-frame-options", b"DENY"),
        *own,
        *(each for each in SAFE if each[0] not in names),
    ]
    await send({"type": "http.response.start", "status": failure.status, "headers": headers})
    sent = b"" if scope["method"] == "HEAD" else body
    await send({"type": "http.response.body", "body": sent})


def page(failure: Failure) -> str:
    """Return a page that needs no database: nobody can tell who looks at it."""
    return render_to_string("admin/magi/failure.html", {"failure": failure})


def _forget(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()  # nobody waits for it any more
