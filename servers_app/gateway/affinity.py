"""Which server a conversation was last with: there its prompt need not be read again."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from servers_app.gateway.balancing import has_slot
from servers_app.gateway.routes import Replica

MAX_CONVERSATIONS: Final = 4096
# A server that has more than this many times the mean of all, and one, is left alone.
_BUSIER: Final = 1.25


class Affinity:
    """The servers of the conversations that were seen last, by conversation and model."""

    def __init__(self, max_conversations: int = MAX_CONVERSATIONS) -> None:
        self._max_conversations = max_conversations
        self._servers: OrderedDict[tuple[int, str], int] = OrderedDict()

    def server_of(self, key: int, model_id: str) -> int | None:
        """Return the server id that last answered in a conversation."""
        return self._servers.get((key, model_id))

    def note(self, key: int, model_id: str, server_id: int) -> None:
        self._servers[key, model_id] = server_id
        self._servers.move_to_end((key, model_id))
        if len(self._servers) > self._max_conversations:
            self._servers.popitem(last=False)


def is_overloaded(
    replica: Replica, others: Sequence[Replica], in_flight: Mapping[int, int]
) -> bool:
    """Whether a conversation had better leave its server for another one.

    Reading a prompt again takes a part of a second for most; behind a long answer in
    its slot it would wait for many.

    Args:
        others: the servers that could take it, with or without `replica`.
    """
    if not has_slot(replica, in_flight) and any(has_slot(one, in_flight) for one in others):
        return True
    mean = sum(in_flight.get(one.server_id, 0) for one in others) / len(others)
    return in_flight.get(replica.server_id, 0) > _BUSIER * mean + 1
