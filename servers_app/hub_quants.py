"""The quantizations of a hub's repo, and whether each would fit a node: memory and disk."""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from django.conf import settings

from models_app.downloads.figures import size_text
from models_app.downloads.space import free_bytes
from models_app.hubsearch.quants import Quant, RepoQuants, models_here, quants_of
from models_app.huggingface import hub_cache
from models_app.memory import estimate_memory
from models_app.models import DiscoveredModel
from profiles_app.services import active_profile
from servers_app.memory import MIB
from servers_app.model_page import Room, Verdict, room_on

LEAST_CONTEXT: Final = 4096  # tokens; for what the estimate has of them, see `needed_mib`


class QuantHere(NamedTuple):
    """A quantization, and what it would find on a node."""

    quant: Quant
    memory_mib: int | None
    verdict: Verdict | None  # None: nobody knows what the node has, or how large it is
    fits_disk: bool | None  # None: it is another machine's disk
    model: DiscoveredModel | None  # that it is here as

    @property
    def size(self) -> str:
        return "?" if self.quant.size_bytes is None else size_text(self.quant.size_bytes)

    def as_json(self) -> dict[str, Any]:
        return {
            **self.quant.as_json(),
            "memory_mib": self.memory_mib,
            "fit": self.verdict.word if self.verdict else None,
            "fits_disk": self.fits_disk,
            "model_id": self.model.model_id if self.model else None,
        }


@dataclass(frozen=True, slots=True)
class QuantsHere:
    repo: str
    commit: str
    node: str
    room: str  # what the node has, in words
    disk_free_bytes: int | None
    quants: list[QuantHere]

    def as_json(self) -> dict[str, Any]:
        return {
            "repo": self.repo,
            "commit": self.commit,
            "node": self.node,
            "disk_free_bytes": self.disk_free_bytes,
            "quants": [quant.as_json() for quant in self.quants],
        }


def quants_here(repo: str, *, revision: str = "", node: str = "") -> QuantsHere:
    """Return what a repo has for llama-server, and whether a node has room for it.

    Args:
        node: empty: this one.

    Raises:
        DownloadError: as models_app.hubsearch.listing.list_repo.
    """
    found = quants_of(repo, revision)
    node = node or settings.MAGI_NODE
    room = room_on(node, active_profile())
    free = free_bytes(hub_cache()) if node == settings.MAGI_NODE else None
    return QuantsHere(
        repo=found.repo,
        commit=found.commit,
        node=node,
        room=_room_words(room, node, free),
        disk_free_bytes=free,
        quants=_looked_at(found, room, free),
    )


def needed_mib(quant: Quant) -> int | None:
    """Return what it takes at least: weights, projector and room to compute.

    What the cache of a context takes, the header says: nobody has it before it is fetched.
    """
    if quant.size_bytes is None:
        return None
    estimate = estimate_memory(
        size_bytes=quant.size_bytes - quant.projector_bytes,
        projector_bytes=quant.projector_bytes,
        ctx_size=LEAST_CONTEXT,
        block_count=None,
        head_count=None,
        head_count_kv=None,
        key_length=None,
        value_length=None,
        embedding_length=None,
    )
    return -(-estimate.total_bytes // MIB)


def _looked_at(found: RepoQuants, room: Room | None, free: int | None) -> list[QuantHere]:
    here = models_here(found)
    reserve = settings.MAGI_DOWNLOAD_RESERVE_MIB * MIB
    looked_at = []
    for quant in found.quants:
        memory = needed_mib(quant)
        verdict = room.verdict(quant.reference, memory) if room and memory else None
        fits_disk = None
        if free is not None and quant.size_bytes is not None:
            fits_disk = quant.size_bytes + reserve <= free
        model = here.get(quant.reference)
        looked_at.append(QuantHere(quant, memory, verdict, fits_disk, model))
    return looked_at


def _room_words(room: Room | None, node: str, free: int | None) -> str:
    words = room.words(node) if room else f"What node {node} has is not known: it is away."
    return (
        words if free is None else f"{words} {size_text(free)} are free on its disk for models."
    )
