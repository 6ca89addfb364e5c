"""Ask for a copy of a model on another node: checked, committed, then queued."""

from functools import partial

from django.db import transaction
from django.db.models import Q

from models_app.audit_models import Action
from models_app.copies import as_on, has_files_on, nodes_of
from models_app.download_models import Download, DownloadSource
from models_app.downloads.given import HUB, OLLAMA
from models_app.downloads.service import queue, write_down
from models_app.errors import AlreadyThereError, NoWorkerError, UnsupportedDownloadError
from models_app.matching import found_as
from models_app.models import DiscoveredModel
from models_app.queue import require_worker, without_worker


def request_copy(
    model: DiscoveredModel,
    *,
    node: str,
    from_node: str = "",
    limit_bytes_per_s: int | None = None,
    who: str = "",
) -> Download:
    """Want the files of `model` on `node`, and queue that. Nothing is started by it.

    One that is under way is returned as it is. One that failed or was cancelled goes on
    where it stopped.

    Args:
        from_node: has the files; empty: the first that has them and whose worker answers.
        limit_bytes_per_s: no more than so many, over all its files.
        who: asks, where no request says who it is.

    Raises:
        AlreadyThereError: that node has it.
        NotOnNodeError: `from_node` does not have it.
        UnsupportedDownloadError: it cannot run anywhere, its files are nowhere, or that node
            has others under the same name.
        NoWorkerError: nobody would fetch it, or give it away.
        QueueUnavailableError: the broker cannot be reached.
    """
    nodes = nodes_of(model)
    if node in nodes:
        raise AlreadyThereError(model.model_id, node)
    _require_no_other(model, node)
    there = _source(model, [name for name in nodes if name != node], from_node)
    require_worker(node)
    named = {"node": node, "source": DownloadSource.NODE.value, "reference": model.model_id}
    values = {
        "from_node": there,
        "model": model,
        "limit_bytes_per_s": limit_bytes_per_s,
        "offer_url": "",
    }
    with transaction.atomic():
        download, is_new = write_down(named, values, action=Action.COPY, who=who)
        if is_new:
            transaction.on_commit(partial(queue, download))
    return download


def _require_no_other(model: DiscoveredModel, node: str) -> None:
    """Refuse a copy that would take the place of what a cache or a store has of that name."""
    if not model.identity.startswith((HUB, OLLAMA)):
        return  # it comes into a folder of its own
    found = found_as(model.identity)
    alike = Q(identity=found) | Q(identity__startswith=f"{found}@")
    rows = DiscoveredModel.objects.filter(alike, has_files_on(node), is_missing=False)
    other = rows.exclude(pk=model.pk).first()
    if other is not None:
        msg = (
            f"{model.model_id} cannot be copied: node {node} has other files of the same name, "
            f"{other.model_id}. Delete them there and rescan, or pull the model there."
        )
        raise UnsupportedDownloadError(msg)


def _source(model: DiscoveredModel, nodes: list[str], from_node: str) -> str:
    """Return the node that gives its files away."""
    if from_node:
        problem = as_on(model, from_node).problem
        nodes = [from_node] if from_node in nodes else []
    else:
        problem = model.problem
    if problem or not nodes:
        why = problem or "its files have gone. Rescan the node that had them"
        msg = f"{model.model_id} cannot be copied: {why}."
        raise UnsupportedDownloadError(msg)
    silent = without_worker(nodes)
    for name in nodes:
        if name not in silent:
            return name
    raise NoWorkerError(nodes[0])
