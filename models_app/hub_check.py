"""Compare a model's files with those that its hub has now. Nothing is fetched, or hashed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

from django.utils import timezone

from models_app.downloads.ollama_registry import HOST, ollama_plan
from models_app.downloads.references import OLLAMA, parse_reference
from models_app.errors import UnknownReferenceError
from models_app.events import MODEL, publish
from models_app.hubsearch.listing import Once, list_repo
from models_app.matching import found_as
from models_app.models import DiscoveredModel
from models_app.ollama import Tag
from models_app.validation import shard_paths
from models_app.version_models import HubState, ModelVersion
from models_app.version_page import pull_reference
from models_app.versions import current_version

UNKNOWN: Final = "unknown"  # beside HubState's: nobody can say
_HUB_HOSTS: Final = ("hf.co", "huggingface.co")
_SHORT: Final = 12  # characters of a commit


@dataclass(frozen=True, slots=True)
class HubCheck:
    """How the files of a model stand to those of its hub."""

    model_id: str
    state: str  # of HubState, or UNKNOWN
    words: str  # what is the case, and what to do
    checked_at: datetime
    revision: str = ""  # of what is here
    hub_commit: str = ""
    pull: str = ""  # what `manage.py pull` takes, where there is something to fetch

    def as_json(self) -> dict[str, Any]:
        return {
            "model_id": self.model_id,
            "state": self.state,
            "revision": self.revision,
            "hub_commit": self.hub_commit,
            "checked_at": self.checked_at.isoformat(),
            "pull": self.pull,
        }


@dataclass(frozen=True, slots=True)
class _Remote:
    """What a hub has of a model's files, by their names here."""

    commit: str
    sha256: Mapping[str, str]
    size_bytes: Mapping[str, int | None]


def check_model(model: DiscoveredModel) -> HubCheck:
    """Ask the hub what it has of a model, and write it onto the model's current version.

    Raises:
        DownloadError: the hub cannot be asked: offline, gated, away. Nothing is written.
    """
    version = current_version(model)
    try:
        found = _compared(model, version)
    except UnknownReferenceError as error:
        words = f"{error} What is here stays as it is."
        found = _result(model, version, HubState.GONE, words)
    if found.state in HubState.values:
        ModelVersion.objects.filter(pk=version.pk).update(
            hub_state=found.state,
            hub_commit=found.hub_commit,
            hub_checked_at=found.checked_at,
        )
        publish(MODEL, {"model_id": model.model_id, "hub_state": found.state})
    return found


def _compared(model: DiscoveredModel, version: ModelVersion) -> HubCheck:
    tag = _tag(model)
    if tag is not None and tag.host == HOST:
        return _with_registry(model, version, tag)
    if tag is not None and tag.host in _HUB_HOSTS:
        return _by_hash_alone(model, version, f"{tag.namespace}/{tag.model}")
    if not model.repo_id or tag is not None:
        words = (
            "Nobody knows which repo its file is of, so there is nothing to compare with. "
            "`manage.py pull org/repo:QUANT` fetches a model with its repo and commit."
        )
        return _result(model, version, UNKNOWN, words)
    return _with_repo(model, version)


def _with_repo(model: DiscoveredModel, version: ModelVersion) -> HubCheck:
    remote = _of_repo(model)
    commit = remote.commit
    names = [path.name for path in shard_paths(model)]
    gone = [name for name in names if name not in remote.size_bytes]
    if gone:
        words = (
            f"{model.repo_id} has no {gone[0]} any more. `manage.py hub quants "
            f"{model.repo_id}` lists what it has."
        )
        return _result(model, version, HubState.GONE, words, commit)
    theirs = {name: remote.sha256[name] for name in names if remote.sha256.get(name)}
    ours = {name: version.sha256[name] for name in names if name in version.sha256}
    if any(theirs[name] != ours[name] for name in theirs.keys() & ours.keys()):
        return _other(model, version, commit)
    if len(theirs.keys() & ours.keys()) == len(names):
        return _same(model, version, commit)
    sizes = [remote.size_bytes[name] for name in names]
    if None not in sizes and sum(size or 0 for size in sizes) != version.size_bytes:
        return _other(model, version, commit)
    words = (
        "Of the same size as the hub's, but nobody has read its bytes: verify it (`manage.py "
        f"models verify {model.model_id}`), then ask again."
        if theirs
        else "The hub tells no hash of it. Of the same size as the hub's."
    )
    return _result(model, version, UNKNOWN, words, commit)


def _of_repo(model: DiscoveredModel) -> _Remote:
    """Return the hub's files by the names here; of a cache, those of the same folder."""
    listing = list_repo(model.repo_id)
    folder = ""
    if model.identity.startswith("hf:"):
        inside = model.identity.removeprefix(f"hf:{model.repo_id}:")
        folder = str(PurePosixPath(inside).parent)
    names = {Path(path).name for path in shard_paths(model)}
    files = [
        file
        for file in listing.files
        if file.name in names and (not folder or str(PurePosixPath(file.path).parent) == folder)
    ]
    return _Remote(
        listing.commit,
        {file.name: file.sha256.lower() for file in files},
        {file.name: file.size_bytes for file in files},
    )


def _by_hash_alone(model: DiscoveredModel, version: ModelVersion, repo: str) -> HubCheck:
    """Compare a blob that Ollama fetched from the hub: its file's name there is not known."""
    listing = list_repo(repo)
    hashes = {file.sha256.lower() for file in listing.files if file.sha256}
    if not hashes:
        words = "The hub tells no hash of its files, so there is nothing to compare with."
        return _result(model, version, UNKNOWN, words, listing.commit)
    if set(version.sha256.values()) <= hashes and version.sha256:
        return _same(model, version, listing.commit)
    return _other(model, version, listing.commit, pull=_reference_of(model, repo))


def _with_registry(model: DiscoveredModel, version: ModelVersion, tag: Tag) -> HubCheck:
    asked = parse_reference(f"{tag.namespace}/{tag.model}:{tag.tag}", source=OLLAMA)
    plan = ollama_plan(asked, Once())
    digests = {file.digest.value for file in plan.files}
    if set(version.sha256.values()) <= digests and version.sha256:
        return _same(model, version, "")
    return _other(model, version, "", pull=f"{HOST}/{asked.repo}:{asked.tag}")


def _same(model: DiscoveredModel, version: ModelVersion, commit: str) -> HubCheck:
    """Say that a model is as its hub has it, going by hashes that its files had once."""
    if version.is_sound is False:
        pull = pull_reference(model)
        words = (
            "It is the hub's by its name, but not by its bytes, as the last verification "
            f"found. `manage.py pull {pull}` fetches it again."
        )
        return _result(model, version, HubState.OTHER, words, commit, pull=pull)
    words = "As on the hub, byte by byte."
    if commit and version.revision and version.revision != commit:
        words = (
            f"As on the hub, byte by byte: the repo has gone on to {commit[:_SHORT]}, and this "
            "file has stayed the same."
        )
    return _result(model, version, HubState.SAME, words, commit)


def _other(
    model: DiscoveredModel, version: ModelVersion, commit: str, *, pull: str = ""
) -> HubCheck:
    pull = pull or pull_reference(model)
    at = f", at {commit[:_SHORT]}" if commit else ""
    words = (
        f"The hub has another version of it{at}. `manage.py pull {pull}` fetches it; what is "
        "here stays until you delete it."
    )
    return _result(model, version, HubState.OTHER, words, commit, pull=pull)


def _result(
    model: DiscoveredModel,
    version: ModelVersion,
    state: str,
    words: str,
    commit: str = "",
    *,
    pull: str = "",
) -> HubCheck:
    return HubCheck(
        model_id=model.model_id,
        state=str(state),
        words=words,
        checked_at=timezone.now(),
        revision=version.revision,
        hub_commit=commit,
        pull=pull,
    )


def _reference_of(model: DiscoveredModel, repo: str) -> str:
    return f"{repo}:{model.quantization}" if model.quantization else repo


def _tag(model: DiscoveredModel) -> Tag | None:
    """Return the tag of an Ollama model; None of any other."""
    if not model.identity.startswith("ollama:"):
        return None
    head, _, tag = found_as(model.identity).removeprefix("ollama:").rpartition(":")
    return Tag.of_path((*head.split("/"), tag))
