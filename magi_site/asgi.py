"""Who answers what: /v1 and what is streamed, before any middleware; the rest is Django's."""

import asyncio
import os
from functools import partial
from typing import Any, cast

from django.conf import settings
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "magi_site.settings")
django_application = get_asgi_application()

# Only now: these import models, which the line above makes ready.
from magi_site import draining, events, telemetry  # noqa: E402
from magi_site.away import DatabaseWatch  # noqa: E402
from magi_site.bodies import with_bounded_body  # noqa: E402
from magi_site.exposure import is_open  # noqa: E402
from magi_site.guard import refusal  # noqa: E402
from magi_site.log_stream import LogStream  # noqa: E402
from magi_site.metrics import endpoint as metrics  # noqa: E402
from magi_site.sessions import by_session  # noqa: E402
from magi_site.trusted_proxies import TrustedProxies  # noqa: E402
from models_app.events import channel  # noqa: E402
from servers_app.gateway.access import Rules  # noqa: E402
from servers_app.gateway.app import Gateway  # noqa: E402
from servers_app.gateway.asgi import PRIVATE, Receive, Scope, Send  # noqa: E402
from servers_app.gateway.current import Running, set_current  # noqa: E402
from servers_app.gateway.peers import open_channels  # noqa: E402
from servers_app.gateway.table import load_table  # noqa: E402
from servers_app.gateway.writer import CONTROL  # noqa: E402
from servers_app.ratelimits import AsyncRateLimiter  # noqa: E402

traces = telemetry.start("web")
gateway = Gateway(
    load_table,
    CONTROL,
    rules=Rules(is_open, by_session, partial(AsyncRateLimiter, settings.REDIS_URL)),
    channels=partial(open_channels, settings.REDIS_URL, channel(settings.REDIS_URL)),
    keep_prompts=settings.MAGI_KEEP_PROMPTS,
    allow_remote_media=settings.MAGI_ALLOW_REMOTE_MEDIA,
    has_request_lines=settings.MAGI_REQUEST_LINES,
    spans=None if traces is None else traces.spans(),
)
metrics_endpoint = metrics.MetricsEndpoint(gateway, settings.MAGI_RUN_DIR / "metrics")
pages = DatabaseWatch(cast("Any", django_application))
event_stream = events.EventStream()
log_stream = LogStream()


async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http" and draining.has_begun():
        send = draining.parting(send)
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "http" and scope["path"] == "/health":
        await _say(scope["method"], send, 200, b'{"status": "ok"}')
    elif scope["type"] == "http" and scope["path"] == "/ready":
        await _say(scope["method"], send, *_readiness())
    elif scope["type"] == "http":
        refused = refusal(scope)
        if refused is not None:
            await refused.answer(scope, receive, send)
        elif scope["path"].startswith("/v1/"):
            await gateway(scope, receive, send)
        elif scope["path"] == events.PATH:
            await event_stream(scope, receive, send)
        elif scope["path"] == metrics.PATH:
            await metrics_endpoint(scope, receive, send)
        elif log_stream.is_at(scope["path"]):
            await log_stream(scope, receive, send)
        else:
            await with_bounded_body(pages, scope, receive, send)


def _readiness() -> tuple[int, bytes]:
    """Return whether a balancer may send requests here."""
    if draining.has_begun():
        return 503, b'{"detail": "This process is about to end. Ask another one."}'
    if not gateway.has_table:
        return 503, b'{"detail": "Which models there are could not be read yet."}'
    return 200, b'{"status": "ready"}'


async def _say(method: str, send: Send, status: int, body: bytes) -> None:
    """Say how this process is; for whoever asks, by whatever name it asks."""
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
            metrics_endpoint.startup()
            event_stream.startup()
            log_stream.startup()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            log_stream.end()
            await event_stream.shutdown()
            set_current(None)
            await gateway.shutdown()
            await metrics_endpoint.shutdown()
            if traces is not None:
                await asyncio.to_thread(traces.close)
            await send({"type": "lifespan.shutdown.complete"})
            return


application: Any = (
    TrustedProxies(dispatch, settings.MAGI_TRUSTED_PROXIES)
    if settings.MAGI_TLS == "proxy"
    else dispatch
)
