"""Server-sent events: a stream of bytes cut into its events, and events made from values."""

import json
from typing import Any, Final

DONE: Final = b"data: [DONE]\n\n"
COMMENT: Final = b":\n\n"  # says nothing, and shows that the connection is alive
_ENDS: Final = (b"\n\n", b"\r\n\r\n")


class Events:
    """Cuts a stream into its events. What is cut off the end waits for the next piece."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def pending_bytes(self) -> int:
        return len(self._rest)

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the events that are complete by now, each with the empty line behind it."""
        looked_at = max(0, len(self._rest) - 3)  # an end may have begun there
        self._rest += piece
        events = []
        start = 0
        while (end := _end_of_event(self._rest, max(start, looked_at))) != -1:
            events.append(bytes(self._rest[start:end]))
            start = end
        del self._rest[:start]
        return events

    def take_rest(self) -> bytes:
        rest = bytes(self._rest)
        self._rest.clear()
        return rest


def data_of(event: bytes) -> bytes:
    """Return the data of an event; nothing for a comment."""
    lines = (line for line in event.splitlines() if line.startswith(b"data:"))
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines)


def object_of(event: bytes) -> dict[str, Any] | None:
    """Return the JSON object that an event carries; None if it carries something else."""
    try:
        value = json.loads(data_of(event))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def event_of(value: object, *, name: str | None = None) -> bytes:
    # In ASCII: half of a surrogate pair, which JSON may hold, has no UTF-8.
    data = b"data: %s\n\n" % json.dumps(value, separators=(",", ":")).encode()
    return data if name is None else b"event: %s\n%s" % (name.encode(), data)


def _end_of_event(text: bytearray, start: int) -> int:
    """Return where the first event from `start` on ends; -1 if it does not yet."""
    ends = [(at, len(end)) for end in _ENDS if (at := text.find(end, start)) != -1]
    return sum(min(ends)) if ends else -1
