"""Who answers what: /v1 and what is streamed, before any middleware; the rest is Django's."""

import asyncio
import os
from functools import partial
from typing import Any, cast

from django.conf import settings
from django.core.asgi import get_asgi_application
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "magi_site.settings")
django_application = get_asgi_application()

# Only now: these import models, which the line above makes ready.
from magi_site import events  # noqa: E402
from magi_site.bodies import with_bounded_body  # noqa: E402
from magi_site.exposure import is_open  # noqa: E402
from magi_site.guard import refusal  # noqa: E402
from magi_site.log_stream import LogStream  # noqa: E402
from magi_site.sessions import by_session  # noqa: E402
from models_app.events import channel  # noqa: E402
from servers_app.gateway.access import Rules  # noqa: E402
from servers_app.gateway.app import Gateway  # noqa: E402
from servers_app.gateway.asgi import PRIVATE, Receive, Scope, Send  # noqa: E402
from servers_app.gateway.current import Running, set_current  # noqa: E402
from servers_app.gateway.peers import open_channels  # noqa: E402
from servers_app.gateway.table import load_table  # noqa: E402
from servers_app.gateway.writer import CONTROL  # noqa: E402
from servers_app.ratelimits import AsyncRateLimiter  # noqa: E402

gateway = Gateway(
    load_table,
    CONTROL,
    rules=Rules(is_open, by_session, partial(AsyncRateLimiter, settings.REDIS_URL)),
    channels=partial(open_channels, settings.REDIS_URL, channel(settings.REDIS_URL)),
    keep_prompts=settings.MAGI_KEEP_PROMPTS,
    allow_remote_media=settings.MAGI_ALLOW_REMOTE_MEDIA,
)
event_stream = events.EventStream()
log_stream = LogStream()


async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "http" and scope["path"] == "/health":
        await _health(scope["method"], send)
    elif scope["type"] == "http":
        refused = refusal(scope)
        if refused is not None:
            await refused.answer(scope, receive, send)
        elif scope["path"].startswith("/v1/"):
            await gateway(scope, receive, send)
        elif scope["path"] == events.PATH:
            await event_stream(scope, receive, send)
        elif log_stream.is_at(scope["path"]):
            await log_stream(scope, receive, send)
        else:
            await with_bounded_body(cast("Any", django_application), scope, receive, send)


async def _health(method: str, send: Send) -> None:
    """Say that this process serves; for whoever asks, by whatever name it asks."""
    status, body = 200, b'{"status": "ok"}'
    headers = [(b"content-type", b"application/json"), *PRIVATE]
    if method not in {"GET", "HEAD"}:
        status, body = 405, b'{"detail": "Use GET."}'
        headers.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    """Start and stop with the server; Django's handler has no lifespan."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await gateway.startup()
            set_current(Running(gateway, asyncio.get_running_loop()))
            event_stream.startup()
            log_stream.startup()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            log_stream.end()
            await event_stream.shutdown()
            set_current(None)
            await gateway.shutdown()
            await send({"type": "lifespan.shutdown.complete"})
            return


# By X-Forwarded-For and -Proto, and by those of our own proxies alone: whoever else sends
# them would choose the address that sign-ins are counted for.
application: Any = (
    ProxyHeadersMiddleware(cast("Any", dispatch), settings.MAGI_TRUSTED_PROXIES)
    if settings.MAGI_TLS == "proxy"
    else dispatch
)
