"""What the registry knows of a node before it is scanned."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from models_app.copy_models import ModelCopy
from models_app.known import KnownFile
from models_app.matching import found_as
from models_app.models import DiscoveredModel, RootKind, ScanRoot


class Here(NamedTuple):
    """A model that the node has, as its home or as a copy; thousands of them are held."""

    pk: int
    model_id: str
    is_missing: bool
    signature: KnownFile | None  # None: another version of MAGI wrote it, or its root has gone


@dataclass(slots=True)
class KnownModels:
    """The registry as one node sees it; all by the identity that its scan would find."""

    is_alone: bool  # no other node has a scan root
    ids: set[str] = field(default_factory=set)  # of all models, on whichever node
    here: dict[str, Here] = field(default_factory=dict)
    # Identities of rows that nodes have of their own, where their content is another one.
    own: dict[str, list[str]] = field(default_factory=dict)

    def signatures(self) -> dict[str, KnownFile]:
        """Return what the node's files looked like when they were read."""
        return {
            identity: here.signature
            for identity, here in self.here.items()
            if here.signature is not None
        }


def known_models(node: str) -> KnownModels:
    """Read it; three queries, however many models there are."""
    roots = ScanRoot.objects.values_list("pk", "node", "kind")
    kinds = {pk: kind for pk, where, kind in roots if where == node}
    known = KnownModels(is_alone=len(kinds) == len(roots))
    several: dict[str, list[Here]] = {}
    for found, here in _all_here(node, kinds, known):
        before = known.here.setdefault(found, here)
        if before is not here:
            several.setdefault(found, [before]).append(here)
    for found, all_here in several.items():
        del known.here[found]
        present = [here for here in all_here if not here.is_missing]
        if len(present) == 1:  # of several, a scan that died left them: they are read anew
            known.here[found] = present[0]
    return known


def _all_here(
    node: str, kinds: dict[int, str], known: KnownModels
) -> Iterator[tuple[str, Here]]:
    """Yield what the registry says the node has; tell `known` of everything.

    Args:
        kinds: of the node's scan roots, by their primary keys.
    """
    rows = DiscoveredModel.objects.order_by().values_list(
        "identity", "pk", "model_id", "root_id", "is_missing", "blob_path", "file_signature"
    )
    for identity, pk, model_id, root, is_missing, blob, signature in rows.iterator():
        known.ids.add(model_id)
        found = found_as(identity)
        if found != identity:
            known.own.setdefault(found, []).append(identity)
        # One whose root has gone is read again, and so is told of the root it is in now. So
        # is a missing one, where another node may have become its home meanwhile.
        if root in kinds and (known.is_alone or not is_missing):
            looked = KnownFile.of_json(signature)
            yield _found(found, kinds[root], blob), Here(pk, model_id, is_missing, looked)
    copies = ModelCopy.objects.filter(node=node).order_by()
    columns = (
        "model__identity", "model_id", "model__model_id", "root_id", "blob_path",
        "file_signature",
    )  # fmt: skip
    for identity, pk, model_id, root, blob, signature in copies.values_list(*columns):
        looked = KnownFile.of_json(signature) if root in kinds else None
        found = _found(found_as(identity), kinds.get(root, ""), blob)
        yield found, Here(pk, model_id, is_missing=False, signature=looked)


def _found(identity: str, kind: str, blob_path: str) -> str:
    """Return what a scan calls a model: in a folder its path, which differs between nodes."""
    return blob_path if kind in (RootKind.DIRECTORY, RootKind.GEMMA) else identity
