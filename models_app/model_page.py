"""What the page of a model says: facts in groups, and what is wrong, each with a next step."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from django.conf import settings

from models_app.copies import home_of
from models_app.downloads.figures import size_text
from models_app.models import DiscoveredModel
from models_app.validation import shard_paths
from models_app.version_page import version_findings

SHORT_CHARS: Final = 160  # of a value of the header; the whole is folded
WHOLE_CHARS: Final = 30_000  # of a chat template, say: a page stays small
MAX_FILES: Final = 40  # that are listed by name


class Fact(NamedTuple):
    label: str
    value: str


class File(NamedTuple):
    what: str
    path: str
    size: str  # or what is wrong


class Place(NamedTuple):
    """Where another node has the files."""

    node: str
    path: str
    problem: str


class Entry(NamedTuple):
    """One of the header's."""

    key: str
    value: str
    whole: str = ""  # of a long one


class Finding(NamedTuple):
    sentence: str
    next_step: str
    is_grave: bool = True  # it cannot run like this


@dataclass(frozen=True, slots=True)
class ModelPage:
    findings: list[Finding]
    identity: list[Fact]
    capabilities: list[Fact]
    files: list[File]
    more_files: int
    places: list[Place]  # on other nodes than that of the files
    header: list[Entry]


def page_of(model: DiscoveredModel) -> ModelPage:
    files = _files(model)
    copies = list(model.copies.order_by("node"))
    return ModelPage(
        findings=[
            *findings(model),
            *(Finding(*finding) for finding in version_findings(model)),
        ],
        identity=_identity(model, [copy.node for copy in copies]),
        capabilities=_capabilities(model),
        files=files[:MAX_FILES],
        more_files=len(files[MAX_FILES:]),
        places=[Place(copy.node, copy.file_path, copy.problem) for copy in copies],
        header=header(model.metadata),
    )


def findings(model: DiscoveredModel) -> list[Finding]:
    """Return what is wrong with a model, and what to do about it."""
    found = []
    if model.is_missing:
        found.append(
            Finding(
                "The last scan did not see its file.",
                "Bring it back and rescan. Its overrides, notes and id are kept meanwhile; "
                "`manage.py rescan --prune` removes what has gone for good.",
            )
        )
    if model.problem:
        found.append(Finding(_sentence(model.problem), _next_step(model.problem)))
    found += [
        Finding(_sentence(text), _after_warning(text), is_grave=False)
        for text in model.warnings
    ]
    return found


def header(metadata: dict[str, Any]) -> list[Entry]:
    """Return what the file says of itself, by key; what it does not say is left out."""
    return [
        _entry(key, value)
        for key, value in sorted(metadata.items())
        if value is not None and value not in ("", [], {})
    ]


def _entry(key: str, value: Any) -> Entry:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) <= SHORT_CHARS and "\n" not in text:
        return Entry(key, text)
    whole = text[:WHOLE_CHARS]
    if more := len(text) - len(whole):
        whole += f"\n… and {more:,} more characters: GET /api/models/ID has them all."
    first = " ".join(text[:SHORT_CHARS].split())
    return Entry(key, f"{first}… ({len(text):,} characters)", whole)


def _identity(model: DiscoveredModel, others: list[str]) -> list[Fact]:
    facts = (
        ("Id", model.model_id),
        ("Family", " ".join(filter(None, (model.family, model.version)))),
        ("Variant", model.variant),
        ("Architecture", model.architecture),
        ("Repo", model.repo_id),
        ("Base model", _text(model.metadata.get("base_model"))),
        ("Quantized by", _text(model.metadata.get("quantized_by"))),
        ("License", _text(model.metadata.get("license"))),
        ("Nodes" if others else "Node", ", ".join([home_of(model), *others])),
        ("Preferred port", str(model.port or "")),
    )
    return [Fact(label, value) for label, value in facts if value]


def _capabilities(model: DiscoveredModel) -> list[Fact]:
    facts = (
        ("Kind", str(model.get_kind_display())),
        ("Parameters", _parameters(model)),
        ("Quantization", model.quantization),
        (
            "Context, as trained",
            f"{model.context_length:,} tokens" if model.context_length else "",
        ),
        ("Experts", _experts(model.metadata)),
        ("Instructed", _yes(model.is_instruct)),
        ("For code", _yes(model.is_coder)),
        ("Calls tools", _yes(model.supports_tools)),
        ("Thinking can be switched", _yes(model.supports_thinking)),
        ("Sees images", _yes(bool(model.projector_path))),
    )
    return [Fact(label, value) for label, value in facts if value]


def _parameters(model: DiscoveredModel) -> str:
    exact = f"{model.parameter_count:,}" if model.parameter_count else ""
    billions = f"{model.size_params:g}B" if model.size_params is not None else ""
    active = f"{model.active_params:g}B of them for a token" if model.active_params else ""
    return ", ".join(filter(None, (billions, exact, active)))


def _tokens(count: int | None) -> str:
    return f"{count:,} tokens" if count else ""


def _experts(metadata: dict[str, Any]) -> str:
    count, used = metadata.get("expert_count"), metadata.get("expert_used_count")
    if not count:
        return ""
    return f"{count}, {used} for a token" if used else str(count)


def _files(model: DiscoveredModel) -> list[File]:
    """Return its files; each with its size where this machine has them."""
    is_here = home_of(model) == settings.MAGI_NODE
    shards = shard_paths(model)
    names = [f"Shard {number}" for number in range(1, len(shards) + 1)]
    if len(shards) == 1:
        names = ["Model"]
    files = [
        File(name, str(shard), _size(shard) if is_here else "")
        for name, shard in zip(names, shards, strict=True)
    ]
    if model.blob_path != model.file_path:
        files.append(File("Its bytes lie in", model.blob_path, ""))
    if model.projector_path:
        projector = Path(model.projector_path)
        files.append(File("Projector", str(projector), _size(projector) if is_here else ""))
    return files


def _size(path: Path) -> str:
    try:
        return size_text(path.stat().st_size)
    except OSError:
        return "not there"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _next_step(problem: str) -> str:
    if problem.startswith("incomplete"):
        return "Download what is missing into the same folder, then rescan."
    if "renamed" in problem:
        return "Give the files the names that they were published with, then rescan."
    if "gemma.cpp" in problem:
        return "Get the model as GGUF; a preset can name these weights for gemma.cpp."
    return "Mend or download the file anew, then rescan."


def _after_warning(warning: str) -> str:
    if "projector" in warning:
        return "Put its mmproj file beside it and rescan, if it is to see images."
    if "the header" in warning:
        return "The header counts for memory; rename the file if its name misleads people."
    if "adapter" in warning:
        return "Name the adapter in the run settings of the model, if you want it."
    return "It can run all the same; a newer llama-server may know more of it."


def _yes(holds: bool) -> str:  # noqa: FBT001 - one value
    return "yes" if holds else "no"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
