"""Find a model and its server by what people call them."""

import difflib

from django.conf import settings

from models_app.models import DiscoveredModel
from servers_app.models import RUNNING, Server
from servers_app.planning import node_of

MAX_NAMED = 10


def find_model(model_id: str) -> DiscoveredModel | None:
    return DiscoveredModel.objects.select_related("root").filter(model_id=model_id).first()


def find_server(model: DiscoveredModel, replica: int) -> Server | None:
    """Return the server of a model, the one that runs if it has been on several nodes."""
    servers = Server.objects.select_related("model").filter(model=model, replica=replica)
    home = node_of(model)
    return max(
        servers,
        key=lambda server: (server.state in RUNNING, server.node == home),
        default=None,
    )


def unknown(model_id: str) -> str:
    """Return a sentence that says what there is instead of a model that is not here."""
    ids = list(DiscoveredModel.objects.values_list("model_id", flat=True))
    if not ids:
        return f"Model not found: {model_id}. No model is registered yet."
    if len(ids) <= MAX_NAMED:
        return f"Model not found: {model_id}. Available: {', '.join(ids)}."
    close = difflib.get_close_matches(model_id, ids, n=MAX_NAMED, cutoff=0.4)
    like_it = f" Similar: {', '.join(close)}." if close else ""
    return f"Model not found: {model_id}, among {len(ids)}.{like_it}"


def never_started(model: DiscoveredModel, replica: int) -> str:
    """Return a sentence for a server that there is none of yet."""
    which = f"Replica {replica} of {model.model_id}" if replica else model.model_id
    return f"{which} has never been started."


def is_here(server: Server) -> bool:
    """Whether its files, its log among them, are on this machine."""
    return server.node == settings.MAGI_NODE
