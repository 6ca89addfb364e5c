"""Whether this web process is about to end: it then serves on, and takes leave of its clients.

A balancer that asks `/ready` sends it nobody new, and who has kept a connection is told with
each answer that it closes. So nobody's request meets a connection that is just being closed.
"""

from collections.abc import Callable

from servers_app.gateway.asgi import Message, Send

_CLOSE = (b"connection", b"close")


class _Process:
    is_draining = False
    at_end: list[Callable[[], None]] = []


def begin() -> None:
    """To be called when this process has been asked to end."""
    _Process.is_draining = True


def has_begun() -> bool:
    return _Process.is_draining


def at_end(end: Callable[[], None]) -> None:
    """Have `end` called when nobody new is let in: for what would not end by itself."""
    _Process.at_end.append(end)


def end() -> None:
    for ending in _Process.at_end:
        ending()


def parting(send: Send) -> Send:
    """Return a `send` that says with an answer that its connection closes after it."""

    async def send_parting(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [pair for pair in message.get("headers", ()) if pair[0] != b"connection"]
            message["headers"] = [*headers, _CLOSE]
        await send(message)

    return send_parting
