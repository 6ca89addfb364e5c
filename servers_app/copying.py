"""Copies as people ask for them: by the names of nodes that there are."""

from models_app.copies import nodes_of
from models_app.download_models import Download
from models_app.downloads.copy_service import request_copy
from models_app.models import DiscoveredModel
from servers_app.lookup import require_node
from servers_app.nodes import alive_nodes


def ask_copy(
    model: DiscoveredModel,
    *,
    node: str,
    from_node: str = "",
    limit_bytes_per_s: int | None = None,
    who: str = "",
) -> Download:
    """Want the files of `model` on `node`; see `request_copy`.

    Raises:
        UnknownNodeError: there is none of those names.
        AlreadyThereError, NotOnNodeError, UnsupportedDownloadError: there is nothing to copy.
        NoWorkerError, QueueUnavailableError: nobody would do it.
    """
    require_node(node)
    if from_node:
        require_node(from_node)
    return request_copy(
        model,
        node=node,
        from_node=from_node,
        limit_bytes_per_s=limit_bytes_per_s,
        who=who,
    )


def places_for(model: DiscoveredModel) -> list[str]:
    """Return the nodes that a model can be copied to: their workers are there, it is not."""
    has_it = nodes_of(model)
    if not has_it or model.problem:
        return []
    return [node.name for node in alive_nodes() if node.name not in has_it]
