"""Ask a llama-server how it is, over loopback."""

import http.client
import json
from enum import StrEnum
from typing import Any

from servers_app.ports import LOOPBACK

TIMEOUT_S = 2.0


class Health(StrEnum):
    READY = "ready"
    LOADING = "loading"
    UNREACHABLE = "unreachable"


def health(port: int, *, timeout: float = TIMEOUT_S) -> Health:
    """Ask /health: 200 is ready, any other answer is loading, none is unreachable.

    Only the status counts: builds have differed in the body.
    """
    answer = _get(port, "/health", key="", timeout=timeout)
    if answer is None:
        return Health.UNREACHABLE
    return Health.READY if answer[0] == http.HTTPStatus.OK else Health.LOADING


def model_path(port: int, key: str, *, timeout: float = TIMEOUT_S) -> str | None:
    """Return the model that the server at `port` has loaded, by its /props.

    None when it does not accept our key or does not answer like llama-server: then
    the port is a stranger's.
    """
    answer = _get(port, "/props", key=key, timeout=timeout)
    if answer is None or answer[0] != http.HTTPStatus.OK:
        return None
    try:
        path = json.loads(answer[1]).get("model_path")
    except (ValueError, AttributeError):
        return None
    return path if isinstance(path, str) else None


def refuses_key(port: int, key: str, *, timeout: float = TIMEOUT_S) -> bool:
    """Whether the server at `port` says that `key` is not its own."""
    answer = _get(port, "/props", key=key, timeout=timeout)
    return answer is not None and answer[0] == http.HTTPStatus.UNAUTHORIZED


def _get(port: int, path: str, *, key: str, timeout: float) -> tuple[int, bytes] | None:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout)
    headers: dict[str, Any] = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(4 * 2**20)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
