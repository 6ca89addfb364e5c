"""Call an ASGI application without a server."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Application = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass
class Answer:
    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: bytes) -> bytes | None:
        return dict(self.headers).get(name)


async def call(
    application: Application,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    *,
    body: Iterable[bytes] = (),
    client: str = "127.0.0.1",
) -> Answer:
    """Send a request, its body in pieces, and return the whole answer."""
    given = {"host": "localhost", **(headers or {})}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": (client, 50000),
        "server": ("127.0.0.1", 8000),
    }
    pieces = iter(body)
    answer = Answer()
    is_sent = False

    async def receive() -> dict[str, Any]:
        nonlocal is_sent
        if is_sent:
            return {"type": "http.disconnect"}
        piece = next(pieces, None)
        is_sent = piece is None
        return {"type": "http.request", "body": piece or b"", "more_body": not is_sent}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status, answer.headers = message["status"], list(message["headers"])
        else:
            answer.body += message.get("body", b"")

    await application(scope, receive, send)
    return answer
