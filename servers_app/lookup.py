"""Find a model and its server by what people call them."""

from django.conf import settings

from models_app import lookup
from models_app.lookup import find_model
from models_app.models import DiscoveredModel
from servers_app.models import RUNNING, Server
from servers_app.planning import node_of

__all__ = ["find_model", "find_server", "is_here", "never_started", "unknown"]


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
    return str(lookup.unknown(model_id))


def never_started(model: DiscoveredModel, replica: int) -> str:
    """Return a sentence for a server that there is none of yet."""
    which = f"Replica {replica} of {model.model_id}" if replica else model.model_id
    return f"{which} has never been started."


def is_here(server: Server) -> bool:
    """Whether its files, its log among them, are on this machine."""
    return server.node == settings.MAGI_NODE
