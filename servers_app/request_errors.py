"""What the error codes of the request log mean, and what one does about them."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from servers_app.request_models import RequestOutcome, RequestRecord


class Explained(NamedTuple):
    what: str  # a sentence
    next: str  # another


BY_CODE: Final[Mapping[str, Explained]] = {
    "invalid_api_key": Explained(
        "It had no API key, or none that is good.",
        "Make a key under System, API keys, and send it as “Authorization: Bearer …”.",
    ),
    "not_allowed": Explained(
        "Who asked is known, and may not send requests to models.",
        "Give the user the permission “Can send requests to models”.",
    ),
    "insufficient_scope": Explained(
        "Its API key is for something else.",
        "Make a key with the scope Infer: what a key is for does not change.",
    ),
    "rate_limit_exceeded": Explained(
        "Its API key was used more often in a minute than it may.",
        "Send fewer, or make a key with a higher limit.",
    ),
    "unknown_url": Explained(
        "There is no such path.",
        "Compare the base URL of the client: it ends in /v1.",
    ),
    "method_not_allowed": Explained(
        "The path is there, and is asked with another method.",
        "Look at the client's settings: chats are sent by POST.",
    ),
    "body_too_large": Explained(
        "The request had more bytes than the gateway takes.",
        "Send a shorter conversation or a smaller picture.",
    ),
    "model_not_found": Explained(
        "No enabled model has the name that it asked for.",
        "Enable the model in the active profile, or ask for auto.",
    ),
    "model_loading": Explained(
        "Its model was still being loaded.",
        "Try again in some seconds. The server's page shows how far it is.",
    ),
    "model_not_ready": Explained(
        "The servers of its model were stopped, or had failed.",
        "Start the server; its page says why it stopped.",
    ),
    "model_unreachable": Explained(
        "Nothing had been heard of the nodes of its servers for a while.",
        "System, Nodes says since when. Start the model on a node that is there.",
    ),
    "circuit_open": Explained(
        "The servers of its model had failed too often just before.",
        "They are tried again by themselves. Their pages say what was wrong.",
    ),
    "routes_unknown": Explained(
        "The gateway had not been able to read which models there are.",
        "Look at System, Health: the database was away.",
    ),
    "queue_full": Explained(
        "Too many requests waited for its model already.",
        "Send fewer at once, give the model more slots or replicas, or let the profile "
        "queue more.",
    ),
    "queue_timeout": Explained(
        "No slot became free for it in the time that the profile lets requests wait.",
        "Give the model more slots or replicas, or raise queue_wait_seconds in the profile.",
    ),
    "shutting_down": Explained(
        "MAGI was being stopped.",
        "Send it again.",
    ),
    "upstream_error": Explained(
        "llama-server broke off, or did not answer as it should.",
        "The server's page has the end of its log, and how it ended.",
    ),
    "upstream_timeout": Explained(
        "llama-server said nothing for too long.",
        "The server's page says whether it is busy or hangs. Restart it if it hangs.",
    ),
    "internal_error": Explained(
        "The gateway itself failed.",
        "The web server's log has the details, under this request's id.",
    ),
}
BY_OUTCOME: Final[Mapping[str, Explained]] = {
    RequestOutcome.REFUSED: Explained(
        "It was no request that can be answered: its body is not what the path takes.",
        "Compare what the client sends with the API's documentation.",
    ),
    RequestOutcome.FAILED: Explained(
        "No server could answer it.",
        "Look at the server's page: its state, its events and the end of its log.",
    ),
    RequestOutcome.BROKEN: Explained(
        "The server went away in the middle of the answer.",
        "The server's page says how it ended. Send the request again.",
    ),
    RequestOutcome.CLIENT_GONE: Explained(
        "The client left before its answer was complete; the slot was freed.",
        "If it should have waited, raise the client's own timeout.",
    ),
}


def explained(record: RequestRecord) -> Explained | None:
    """Say why a request was not answered; None if it was."""
    if record.outcome == RequestOutcome.OK:
        return None
    ended = BY_OUTCOME[record.outcome]
    is_cut_off = record.outcome in {RequestOutcome.CLIENT_GONE, RequestOutcome.BROKEN}
    if is_cut_off and record.error_code != "upstream_timeout":
        return ended  # which says more than the code
    return BY_CODE.get(record.error_code, ended)
