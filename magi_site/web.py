"""The web server: uvicorn, which lets its clients go before it does.

`python -m magi_site.web`. SIGTERM begins a drain: for MAGI_DRAIN_SECONDS it serves on, `/ready`
is 503, and each answer closes its connection. Then it stops listening, gives the requests in
flight MAGI_SHUTDOWN_SECONDS, and exits with 0. SIGINT leaves the drain out. A second signal
ends it at once.
"""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from socket import socket
from types import FrameType
from typing import Final

import uvicorn
from django.conf import settings

from magi_site import draining
from magi_site.http_protocol import BoundedProtocol
from magi_site.schema_state import say_difference

logger = logging.getLogger("uvicorn.error")

# A supervisor may signal the group, and our parent pass it on: that is not somebody in a hurry.
SAME_SIGNAL_S: Final = 0.5
FAILED_TO_START: Final = 3  # as uvicorn's own command has it


class WebServer(uvicorn.Server):
    """A server that drains.

    Args:
        drain_s: seconds between SIGTERM and the moment at which it stops listening.
    """

    def __init__(self, config: uvicorn.Config, *, drain_s: float) -> None:
        super().__init__(config)
        self._drain_s = drain_s
        self._asked_at: float | None = None  # monotonic
        self._leave_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end. uvicorn's own would raise the signal again, and so not exit with 0."""
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            self._leave_at = now + (self._drain_s if sig == signal.SIGTERM else 0)
            draining.begin()
        elif now - self._asked_at > SAME_SIGNAL_S:
            os._exit(128 + sig)

    async def on_tick(self, counter: int) -> bool:
        if self._leave_at is not None and time.monotonic() >= self._leave_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        say_difference()

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        draining.end()
        await super().shutdown(sockets)


def serve(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal; return the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m magi_site.web", description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument(
        "--application", default="magi_site.asgi:application", help="as uvicorn takes it"
    )
    arguments = parser.parse_args(argv)
    config = uvicorn.Config(
        arguments.application,
        host=arguments.host,
        port=arguments.port,
        http=BoundedProtocol,
        ws="none",
        access_log=False,
        proxy_headers=False,  # magi_site/asgi.py believes those of MAGI_TRUSTED_PROXIES
        server_header=False,
        timeout_graceful_shutdown=settings.MAGI_SHUTDOWN_SECONDS,
    )
    server = WebServer(config, drain_s=settings.MAGI_DRAIN_SECONDS)
    server.run()
    return 0 if server.started else FAILED_TO_START


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "magi_site.settings")
    sys.exit(serve())
