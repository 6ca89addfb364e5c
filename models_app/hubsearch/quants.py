"""The quantizations that a repo has, with their sizes: what can be pulled of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models_app.downloads.choosing import Variant, bits_of, choose, variants
from models_app.errors import NoQuantError, UnsupportedDownloadError
from models_app.filename import split_stem
from models_app.hubsearch.listing import Listing, list_repo
from models_app.models import DiscoveredModel
from models_app.version_models import ModelVersion


@dataclass(frozen=True, slots=True)
class Quant:
    """One model of a repo, as it would be pulled."""

    reference: str  # what `pull` takes
    quantization: str  # empty where no name says it
    size_bytes: int | None  # all shards with the projector; None: the hub does not say
    projector_bytes: int
    shard_count: int
    is_whole: bool
    is_usual: bool  # what `pull org/repo` takes
    files: tuple[str, ...]
    sha256: frozenset[str]  # of its shards; empty where the hub does not say
    bits_per_weight: float | None

    def as_json(self) -> dict[str, Any]:
        return {
            "reference": self.reference,
            "quantization": self.quantization,
            "bits_per_weight": self.bits_per_weight,
            "size_bytes": self.size_bytes,
            "projector_bytes": self.projector_bytes,
            "shard_count": self.shard_count,
            "is_whole": self.is_whole,
            "is_usual": self.is_usual,
            "files": list(self.files),
        }


@dataclass(frozen=True, slots=True)
class RepoQuants:
    repo: str
    commit: str
    quants: list[Quant]


def quants_of(repo: str, revision: str = "") -> RepoQuants:
    """Return what a repo has for llama-server, smallest first; raises as list_repo does."""
    listing = list_repo(repo, revision)
    found = variants(listing.files)
    usual = _usual(found, listing)
    quants = [_quant(one, found, listing, is_usual=one is usual) for one in found]
    return RepoQuants(listing.repo, listing.commit, quants)


def models_here(repo: RepoQuants) -> dict[str, DiscoveredModel]:
    """Return the registered models that are these quants byte by byte, by reference."""
    hashes = {quant.sha256: quant.reference for quant in repo.quants if quant.sha256}
    rows = ModelVersion.objects.filter(
        is_current=True, model__repo_id=repo.repo, model__is_missing=False
    ).select_related("model")
    return {
        hashes[key]: row.model
        for row in rows
        if (key := frozenset(row.sha256.values())) in hashes
    }


def _usual(found: Sequence[Variant], listing: Listing) -> Variant | None:
    try:
        return choose(found, "", listing.repo)[0]
    except (NoQuantError, UnsupportedDownloadError):
        return None  # there is none, or none is whole


def _quant(
    one: Variant, found: Sequence[Variant], listing: Listing, *, is_usual: bool
) -> Quant:
    bits = bits_of(one.quantization)
    hashes = [file.sha256 for file in one.files]
    return Quant(
        reference=_reference(one, found, listing.repo),
        quantization=one.quantization,
        size_bytes=one.size_bytes,
        projector_bytes=(one.projector.size_bytes or 0) if one.projector else 0,
        shard_count=one.shard_count,
        is_whole=one.is_whole,
        is_usual=is_usual,
        files=tuple(file.path for file in one.all_files),
        sha256=frozenset(hashes) if all(hashes) else frozenset(),
        bits_per_weight=bits if one.quantization and bits < 99 else None,
    )


def _reference(one: Variant, found: Sequence[Variant], repo: str) -> str:
    """Return what names this one and no other of the repo."""
    if one.quantization and one.is_whole:
        try:
            if choose(found, one.quantization, repo)[0] is one:
                return f"{repo}:{one.quantization}"
        except (NoQuantError, UnsupportedDownloadError):
            pass  # another one of that name is not whole
    return f"{repo}:{split_stem(one.files[0].name)}.gguf"
