"""A bound to the bodies that Django gets, held before it writes one to the disk.

Django's own bounds are for forms: a JSON body passes by them, and it would be spooled whole.
"""

from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Final

from django.conf import settings

from magi_site.guard import GUARDED
from servers_app.gateway.asgi import Exchange, Message, Receive, Scope, Send
from servers_app.gateway.current import CLIENT_GONE
from servers_app.gateway.errors import BodyTooLargeError, ClientGoneError
from servers_app.manager.envelope import refused

MAX_BODY_BYTES: Final = 4 * 2**20  # of the admin's forms, with their files

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


async def with_bounded_body(
    application: Application, scope: Scope, receive: Receive, send: Send
) -> None:
    """Have `application` answer a request whose body has been read, or answer 413."""
    exchange = Exchange(scope, receive, send)
    try:
        body = await exchange.read_body(most_bytes(scope["path"]))
    except BodyTooLargeError as error:
        refusal = refused(scope["path"], error.message, error.code)
        await exchange.answer(error.status, refusal)
        return
    except ClientGoneError:
        return
    gone: Future[None] = Future()
    scope[CLIENT_GONE] = gone
    first: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def receive_again() -> Message:
        nonlocal first
        message, first = first or await receive(), None
        if message["type"] == "http.disconnect" and not gone.done():
            gone.set_result(None)
        return message

    await application(scope, receive_again, send)


def most_bytes(path: str) -> int:
    """Return how much a body at `path` may have.

    Of JSON Django takes no more than this, and calls the rest a bad request: a profile has
    256 KiB, a question to /api/query 1 MiB.
    """
    return settings.DATA_UPLOAD_MAX_MEMORY_SIZE if path.startswith(GUARDED) else MAX_BODY_BYTES
