"""Ask a llama-server how it is."""

import http.client
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from servers_app.ports import LOOPBACK

TIMEOUT_S = 2.0
MAX_ANSWER_BYTES = 4 * 2**20
_PREFIX = "llamacpp:"
# What grows while a llama-server works, of whichever its build has.
_COUNTERS = ("n_decode_total", "prompt_tokens_total", "tokens_predicted_total")


class Health(StrEnum):
    READY = "ready"
    LOADING = "loading"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Activity:
    """What a llama-server has in hand."""

    requests: int  # those that wait for a slot among them
    progress: str  # differs as soon as a token has moved
    is_key_refused: bool = False  # it says that the key is not its own


def health(port: int, *, host: str = LOOPBACK, timeout: float = TIMEOUT_S) -> Health:
    """Ask /health: 200 is ready, any other answer is loading, none is unreachable.

    Only the status counts: builds have differed in the body.
    """
    answer = _get(host, port, "/health", key="", timeout=timeout)
    if answer is None:
        return Health.UNREACHABLE
    return Health.READY if answer[0] == http.HTTPStatus.OK else Health.LOADING


def props(port: int, key: str, *, host: str = LOOPBACK) -> dict[str, Any] | None:
    """Return /props: whom the port belongs to, and what it has come to.

    None when it does not accept our key or does not answer like llama-server: then
    the port is a stranger's.
    """
    answer = _get(host, port, "/props", key=key, timeout=TIMEOUT_S)
    if answer is None or answer[0] != http.HTTPStatus.OK:
        return None
    said = _json(answer[1])
    return said if isinstance(said, dict) and isinstance(said.get("model_path"), str) else None


def activity(
    port: int, key: str, *, host: str = LOOPBACK, timeout: float = TIMEOUT_S
) -> Activity | None:
    """Return what a server works on; None if its build does not tell.

    One that does not answer is busy: both calls wait in llama-server's own queue for what
    it computes. /metrics comes first: where it is on, /slots adds nothing to it, and /slots
    wakes a server that sleeps.
    """
    for path, read in (("/metrics", _of_metrics), ("/slots", _of_slots)):
        answer = _get(host, port, path, key=key, timeout=timeout)
        if answer is None:
            return Activity(1, "no answer")
        if answer[0] == http.HTTPStatus.UNAUTHORIZED:
            return Activity(0, "", is_key_refused=True)
        if answer[0] == http.HTTPStatus.OK:
            return read(answer[1])
    return None


def _of_metrics(text: bytes) -> Activity | None:
    """Read Prometheus' text format, as far as llama-server writes it."""
    values: dict[str, float] = {}
    for line in text.decode(errors="replace").splitlines():
        name, _, value = line.partition(" ")
        if name.startswith(_PREFIX):
            try:
                values[name.removeprefix(_PREFIX)] = float(value)
            except ValueError:
                continue
    if "requests_processing" not in values:
        return None
    requests = values["requests_processing"] + values.get("requests_deferred", 0)
    return Activity(int(requests), " ".join(str(values.get(name)) for name in _COUNTERS))


def _of_slots(text: bytes) -> Activity | None:
    slots = _json(text)
    if not isinstance(slots, list) or not all(isinstance(slot, dict) for slot in slots):
        return None
    busy = [slot for slot in slots if slot.get("is_processing")]
    moved = [
        (slot.get("id_task"), slot.get("n_prompt_tokens_processed"), slot.get("next_token"))
        for slot in busy
    ]
    return Activity(len(busy), json.dumps(moved))


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _get(
    host: str, port: int, path: str, *, key: str, timeout: float
) -> tuple[int, bytes] | None:
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    headers: dict[str, Any] = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
