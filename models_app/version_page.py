"""The versions of a model as its page shows them, and what is wrong with the current one."""

from datetime import datetime
from typing import Final, NamedTuple

from django.template.defaultfilters import date

from models_app.matching import found_as
from models_app.models import DiscoveredModel
from models_app.version_models import HubState, ModelVersion

_HUB_COLOURS: Final = {"same": "ready", "other": "starting", "gone": "failed"}


class Badge(NamedTuple):
    word: str
    colour: str


class VersionRow(NamedTuple):
    """One version in words."""

    name: str  # its commit, or what stands for it
    told_by: str  # what that is
    is_current: bool
    first_seen: str
    hashes: list[tuple[str, str]]  # file and hash
    verified: Badge | None
    verified_at: str
    hub: Badge | None
    hub_checked_at: str


class VersionFinding(NamedTuple):
    sentence: str
    next_step: str
    is_grave: bool


def version_rows(model: DiscoveredModel) -> list[VersionRow]:
    """Return what a model's files have been, the current one first."""
    rows = model.versions.order_by("-is_current", "-first_seen_at", "-pk")
    return [_row(version) for version in rows]


def version_findings(model: DiscoveredModel) -> list[VersionFinding]:
    """Return what the last verification and the last look at the hub found wrong."""
    version = model.versions.filter(is_current=True).first()
    if version is None:
        return []
    found = []
    if version.is_sound is False:
        found.append(
            VersionFinding(
                f"Its files are not what they should be: read on {_time(version.verified_at)}.",
                "Stop its servers, download it again, then rescan. Versions, below, say which.",
                is_grave=True,
            )
        )
    if version.hub_state == HubState.OTHER:
        found.append(
            VersionFinding(
                f"The hub has other files of it, as asked on {_time(version.hub_checked_at)}.",
                f"`manage.py pull {pull_reference(model)}` fetches them; what is here stays "
                "until you delete it.",
                is_grave=False,
            )
        )
    return found


def pull_reference(model: DiscoveredModel) -> str:
    """Return what `manage.py pull` takes for the same model as the hub has it now."""
    if model.identity.startswith("ollama:"):
        # Of `someone/qwen3:4b` alone, a repo of the Hugging Face Hub would be made.
        full = found_as(model.identity).removeprefix("ollama:")
        return full if "/" in model.repo_id else model.repo_id
    return f"{model.repo_id}:{model.quantization}" if model.quantization else model.repo_id


def _row(version: ModelVersion) -> VersionRow:
    verified = hub = None
    if version.is_sound is not None:
        verified = Badge("sound", "ready") if version.is_sound else Badge("not sound", "failed")
    if version.hub_state:
        words = version.get_hub_state_display().lower()
        hub = Badge(words, _HUB_COLOURS[version.hub_state])
    return VersionRow(
        name=str(version),
        told_by=_told_by(version),
        is_current=version.is_current,
        first_seen=_time(version.first_seen_at),
        hashes=sorted(version.sha256.items()),
        verified=verified,
        verified_at=_time(version.verified_at),
        hub=hub,
        hub_checked_at=_time(version.hub_checked_at),
    )


def _told_by(version: ModelVersion) -> str:
    if version.revision:
        return "commit"
    return "its hash" if version.sha256 and not version.verified_at else "name, size and time"


def _time(moment: datetime | None) -> str:
    return str(date(moment, "Y-m-d H:i")) if moment else ""
