"""What the gateway asks for beside its routing table."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final

AskFor = Callable[[int], Awaitable[object]]  # takes a server id
NoteUse = Callable[[Collection[int]], Awaitable[object]]  # takes server ids


@dataclass(frozen=True, slots=True)
class Control:
    """Calls that may be slow and may fail; no request that a ready server takes waits for one.

    Attributes:
        demand: want a server running. The routing table tells what came of it.
        look_at: have somebody look whether a server is still there.
        note_use: write down that servers have just had requests.
    """

    demand: AskFor
    look_at: AskFor
    note_use: NoteUse


async def _nothing(_ids: int | Collection[int]) -> None:
    pass


NO_CONTROL: Final = Control(_nothing, _nothing, _nothing)
