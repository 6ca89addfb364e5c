"""Which node gets a server: the rules of a profile's `placement`. Pure.

A node that may not have it is no `Place`: who calls has left it out.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

SPREAD: Final = "spread"
PACK: Final = "pack"
PIN: Final = "pin"


class Place(NamedTuple):
    """A node that may get a server."""

    node: str
    free_mib: int | None  # that nothing wanted there takes; None: nobody knows
    of_model: int = 0  # servers of this model that are wanted there
    servers: int = 0  # of all models

    def has_room(self, need_mib: int) -> bool:
        """Whether so much is free; a node of which nobody knows is tried."""
        return self.free_mib is None or self.free_mib >= need_mib


def choose(
    rule: str, places: Sequence[Place], need_mib: int, order: Sequence[str] = ()
) -> Place | None:
    """Return where a server goes; None where there is no place at all.

    Where none has room, the best one is taken all the same: the launch there is refused with
    figures, or something gives way.

    Args:
        rule: `spread`: the one with the fewest servers of the model, of these the one with
            the most free memory. `pack`: the fullest one, so that empty nodes stay empty.
            `pin`: the first one of `order`.
        need_mib: of the server, estimated.
        order: names of nodes, the first ones first; the others come after them.
    """
    roomy = [place for place in places if place.has_room(need_mib)]
    candidates = roomy or places
    if not candidates:
        return None
    if rule == PIN:
        ranks = {node: rank for rank, node in reversed(list(enumerate(order)))}
        return min(candidates, key=lambda it: (ranks.get(it.node, len(order)), _spread(it)))
    if rule == PACK and roomy:
        return min(candidates, key=_pack)
    if rule == PACK:
        return min(candidates, key=lambda it: (-_free(it), it.node))
    return min(candidates, key=_spread)


def _spread(place: Place) -> tuple[int, int, str]:
    return place.of_model, -_free(place), place.node


def _pack(place: Place) -> tuple[bool, bool, int, str]:
    # A small node is not full because it is small: what counts first is that it is in use.
    return place.servers == 0, place.free_mib is None, _free(place), place.node


def _free(place: Place) -> int:
    return place.free_mib or 0
