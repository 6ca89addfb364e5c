"""What the gateway asks for beside its routing table."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from servers_app.complexity.examples import Example
from servers_app.gateway.trace import Trace

AskFor = Callable[[int], Awaitable[object]]  # takes a server id
NoteUse = Callable[[Collection[int]], Awaitable[object]]  # takes server ids
NoteKeys = Callable[[Mapping[str, float]], Awaitable[object]]  # unix seconds by a key's id
Record = Callable[[Sequence[Trace]], Awaitable[object]]
Examples = Callable[[], Awaitable[Sequence[Example]]]


async def _nothing(_about: object) -> None:
    pass


async def _no_examples() -> Sequence[Example]:
    return ()


@dataclass(frozen=True, slots=True)
class Control:
    """Calls that may be slow and may fail; no request that a ready server takes waits for one.

    Attributes:
        demand: want a server running. The routing table tells what came of it.
        look_at: have somebody look whether a server is still there.
        note_use: write down that servers have just had requests.
        note_keys: write down when API keys were last used.
        record: write down requests that are over; the same ones again where that failed.
        examples: the prompts that people have labelled, the newest first.
    """

    demand: AskFor
    look_at: AskFor
    note_use: NoteUse
    record: Record = _nothing
    note_keys: NoteKeys = _nothing
    examples: Examples = _no_examples


NO_CONTROL: Final = Control(_nothing, _nothing, _nothing)
