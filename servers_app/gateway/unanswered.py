"""What is made of a request that a server did not answer: what it means, and who is next."""

from typing import Final

from servers_app.gateway.errors import (
    GatewayError,
    NotReachedError,
    UpstreamError,
    UpstreamTimeoutError,
)
from servers_app.gateway.http1 import (
    CutOffError,
    NoAnswerError,
    NotConnectedError,
    SilenceError,
    WireError,
)
from servers_app.gateway.routes import UNREACHABLE, Choice

# A request that was sent may be what brought its server down, so it is not shown to all.
MAX_RESENDS: Final = 1
# A network that is cut hardly is the request's doing; but what fell off might be a whole host.
MAX_RESENDS_CUT_OFF: Final = 4


class Resends:
    """How often a request may go to yet another server."""

    __slots__ = ("_breaks", "_cut_off")

    def __init__(self) -> None:
        self._breaks = 0
        self._cut_off: set[int] = set()  # server ids: the same one may be waited for

    def allow(self, failure: NotReachedError, server_id: int) -> bool:
        """Count a server's failure, and tell whether one may be tried after it."""
        self._breaks += failure.was_sent
        if failure.is_cut_off:
            self._cut_off.add(server_id)
        return self._breaks <= MAX_RESENDS and len(self._cut_off) <= MAX_RESENDS_CUT_OFF


def unanswered(error: WireError, choice: Choice) -> GatewayError:
    """Return what to say where no head of an answer came."""
    model_id = choice.route.model_id
    if isinstance(error, CutOffError):
        return NotReachedError.cut_off(model_id, _whereabouts(choice))
    if isinstance(error, NotConnectedError):
        reason = f"was not reached{_whereabouts(choice)}"
        return NotReachedError(model_id, reason, was_sent=False)
    if isinstance(error, NoAnswerError):
        return NotReachedError(model_id, "went away before it answered", was_sent=True)
    if isinstance(error, SilenceError):
        return UpstreamTimeoutError(model_id, error.waited_s)
    return UpstreamError(model_id, "did not answer in HTTP")


def broken_off(error: WireError, choice: Choice) -> GatewayError:
    """Return what to say where an answer had begun."""
    model_id = choice.route.model_id
    if isinstance(error, SilenceError):
        return UpstreamTimeoutError(model_id, error.waited_s)
    how = "was cut off" if isinstance(error, CutOffError) else "went away"
    return UpstreamError(model_id, f"{how} in the middle of its answer")


def _whereabouts(choice: Choice) -> str:
    """Return what is known of the node, where the table has none left that is there."""
    if choice.replica.state != UNREACHABLE:
        return ""
    return f": nothing has been heard of its node '{choice.replica.node}' for a while"
