"""Find a model and its server by what people call them."""

from django.conf import settings

from models_app import lookup
from models_app.errors import UnknownNodeError
from models_app.lookup import find_model
from models_app.models import DiscoveredModel
from profiles_app.nodes import known_nodes
from servers_app.errors import MAX_SHOWN_CHARS
from servers_app.models import RUNNING, Server, Wanted
from servers_app.planning import node_of

__all__ = ["find_model", "find_server", "is_here", "never_started", "require_node", "unknown"]


def find_server(model: DiscoveredModel, replica: int, node: str | None = None) -> Server | None:
    """Return the server of a model, the one that runs if it has been on several nodes.

    Args:
        node: only the one there.
    """
    servers = Server.objects.select_related("model").filter(model=model, replica=replica)
    if node:
        return servers.filter(node=node).first()
    home = node_of(model)
    return max(
        servers,
        key=lambda server: (
            server.state in RUNNING,
            server.unreachable_since is None,
            server.wanted == Wanted.RUNNING,
            server.node == home,
        ),
        default=None,
    )


def require_node(name: str) -> str:
    """Return the name of a node that there is.

    Raises:
        UnknownNodeError: there is none of that name; the message says which there are.
    """
    known = known_nodes()
    if name not in known:
        raise UnknownNodeError(name[:MAX_SHOWN_CHARS], known)
    return name


def unknown(model_id: str) -> str:
    """Return a sentence that says what there is instead of a model that is not here."""
    return str(lookup.unknown(model_id))


def never_started(model: DiscoveredModel, replica: int, node: str = "") -> str:
    """Return a sentence for a server that there is none of yet."""
    which = f"Replica {replica} of {model.model_id}" if replica else model.model_id
    where = f" on node {node}" if node else ""
    return f"{which} has never been started{where}."


def is_here(server: Server) -> bool:
    """Whether its files, its log among them, are on this machine."""
    return server.node == settings.MAGI_NODE
