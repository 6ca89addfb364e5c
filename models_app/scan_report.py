"""A scan's report as people read it: what was skipped, by reason, and what changed."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from models_app.models import DiscoveredModel

SHOWN_FILES: Final = 40  # of each reason; the report as JSON has all
SHOWN_MODELS: Final = 40

_MEANINGS: Final = {
    "duplicate": "The same file by another path; the model is registered once.",
    "older revision": "A newer revision of the same repo is registered instead.",
    "older manifest": "A newer manifest of the same tag is registered instead.",
    "shard": "A part of a model whose first shard is registered.",
    "incomplete download": "Carry the download on, or remove the file; then rescan.",
    "truncated": "The file ends early: download it again, then rescan.",
    "malformed": "Its header contradicts itself: download it again, then rescan.",
    "not a GGUF file": "It is named like a model and is none: remove or rename it.",
    "permission denied": "Let MAGI's user read it, then rescan.",
    "broken link": "What it links to has gone: remove the link, or download it again.",
    "zero bytes": "Nothing is in it: remove it, or download it again.",
    "projector": "It belongs to a model that sees images, and is no model of its own.",
    "adapter": "A LoRA: name it in the run settings of a model to use it.",
    "imatrix": "It is for making quantizations, and is no model.",
    "vocabulary only": "A tokenizer without weights, which cannot run.",
    "no tensors": "It has a header and no weights: download it again.",
    "no manifest": "Ollama keeps it for no tag: `ollama pull` or `ollama rm` tidies that.",
}


@dataclass(frozen=True, slots=True)
class SkippedGroup:
    reason: str
    meaning: str
    count: int
    files: list[Mapping[str, str]]  # the first of them: path, reason


@dataclass(frozen=True, slots=True)
class Named:
    """Models that a scan names: added, say."""

    label: str
    count: int
    models: list[tuple[str, int | None]]  # id, and the key of its row if there is one


def by_reason(skipped: Iterable[Mapping[str, str]]) -> list[SkippedGroup]:
    """Return skipped files in groups, the largest first."""
    groups: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for file in skipped:
        groups[_kind(file["reason"])].append(file)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        SkippedGroup(reason, _meaning(reason), len(files), files[:SHOWN_FILES])
        for reason, files in ordered
    ]


def models_named(report: Mapping[str, Any]) -> list[Named]:
    """Return what a scan added, changed, missed and removed; one query."""
    labels = {
        "added": "Added", "updated": "Changed", "missing": "Missing", "pruned": "Removed",
    }  # fmt: skip
    ids = {name: report.get(name, []) for name in labels}
    shown = {id_ for each in ids.values() for id_ in each[:SHOWN_MODELS]}
    rows = DiscoveredModel.objects.filter(model_id__in=shown).order_by()
    keys = dict(rows.values_list("model_id", "pk"))
    return [
        Named(
            labels[name],
            len(each),
            [(model_id, keys.get(model_id)) for model_id in each[:SHOWN_MODELS]],
        )
        for name, each in ids.items()
        if each
    ]


def _kind(reason: str) -> str:
    """Return what reasons have in common: `duplicate of /a/b.gguf` is a duplicate."""
    kind = reason.partition(":")[0].partition(" of ")[0]
    first, _, rest = kind.partition(" ")
    return first if first == "shard" and rest[:1].isdigit() else kind


def _meaning(reason: str) -> str:
    return next((text for begins, text in _MEANINGS.items() if reason.startswith(begins)), "")
