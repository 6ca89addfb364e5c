"""The newest events in memory: one list for all listeners of a process, each with its place."""

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from models_app.events import LOST, event_json


class Entry(NamedTuple):
    """An entry of the stream in Redis.

    Attributes:
        id: as Redis gave it; empty for what is of this process alone.
        frame: as a listener is sent it; empty where it is no event of ours.
    """

    id: str
    frame: bytes


def frame(kind: str, event: str, event_id: str = "") -> bytes:
    """Return an event of one line of JSON as a browser's EventSource reads it."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {kind}\ndata: {event}\n\n".encode()


def lost(count: int | None, event_id: str = "") -> bytes:
    """Return the frame that says so; from `event_id` on, nothing else is missing."""
    return frame(LOST, event_json(LOST, {"count": count}), event_id)


class EventLog:
    """A bounded list in which every entry keeps its place, a number.

    A listener is a place and nothing else. So a slow one costs no memory, and what it
    has not read when the list is full is lost to it alone.
    """

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._entries: deque[Entry] = deque()
        self._places: dict[str, int] = {}  # of the entries with an id
        self._first = 0  # the place of the oldest
        self._id_before = ""  # of the newest that was dropped
        self.newest_id = ""

    @property
    def end(self) -> int:
        """The place of the entry that comes next."""
        return self._first + len(self._entries)

    @property
    def oldest_id(self) -> str | None:
        return next(iter(self._places), None)

    def append(self, entry: Entry) -> None:
        if entry.id:
            self._places.pop(entry.id, None)  # a Redis that was emptied may give it twice
            self._places[entry.id] = self.end
            self.newest_id = entry.id
        self._entries.append(entry)
        self._trim()

    def prepend(self, older: Iterable[Entry]) -> None:
        """Put what was before the oldest in front, in its order."""
        added = list(older)
        if not added:
            return
        self._first -= len(added)
        places = {entry.id: self._first + index for index, entry in enumerate(added)}
        self._places = places | self._places
        self._entries.extendleft(reversed(added))
        self._id_before = ""
        self._trim()

    def place_after(self, event_id: str) -> int | None:
        """Return where to read on after an event; None: it is not here."""
        place = self._places.get(event_id)
        return None if place is None else place + 1

    def read(self, place: int, max_entries: int) -> tuple[bytes, int]:
        """Return what there is from a place on, and the place to read on from."""
        if place == self.end:
            return b"", place
        missing = max(self._first - place, 0)
        place += missing
        newest_first = islice(reversed(self._entries), self.end - place)
        entries = [*newest_first][::-1][:max_entries]
        pieces = [lost(missing, self._id_before)] if missing else []
        pieces += (entry.frame for entry in entries)
        return b"".join(pieces), place + len(entries)

    def _trim(self) -> None:
        while len(self._entries) > self._max_entries:
            dropped = self._entries.popleft()
            if self._places.get(dropped.id) == self._first:
                del self._places[dropped.id]
            self._id_before = dropped.id or self._id_before
            self._first += 1
