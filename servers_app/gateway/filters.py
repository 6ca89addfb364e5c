"""What may change an answer on its way to the client."""

from collections.abc import Callable
from typing import Protocol


class Filter(Protocol):
    """Takes an answer piece by piece, wherever it happens to be cut."""

    def feed(self, piece: bytes) -> bytes:
        """Return what the client gets for it: nothing, if more has to come first."""
        ...

    def finish(self) -> bytes:
        """Return what was held back. Nothing follows it but, maybe, an error event."""
        ...


# Takes the content type, in lower case and without parameters; None leaves the answer alone.
MakeFilter = Callable[[str], Filter | None]
Tap = Callable[[bytes], None]  # sees each piece as the server sent it
