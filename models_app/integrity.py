"""Read every byte of a model's files, and write down whether they are what they should be."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.utils import timezone

from models_app.copies import copy_of
from models_app.copy_models import ModelCopy
from models_app.errors import FilesChangedError
from models_app.events import MODEL, publish
from models_app.known import KnownFile
from models_app.models import DiscoveredModel
from models_app.scanned import scanned_file
from models_app.validation import sha256_named, shard_paths, verified_paths, verify
from models_app.version_models import HubState, ModelVersion
from models_app.versions import current_version

UNSOUND: Final = "its bytes are not what they should be: copy it to this node again"


class VerifiedFile(NamedTuple):
    file: str
    sha256: str
    expected: str | None  # None: nothing says what it should be
    is_sound: bool | None


@dataclass(frozen=True, slots=True)
class Verified:
    """What became of the files of a model that were read."""

    model_id: str
    verified_at: datetime
    files: list[VerifiedFile]

    @property
    def is_sound(self) -> bool | None:
        """None: of some file nobody knows what it should be, and none is wrong."""
        verdicts = {file.is_sound for file in self.files}
        if False in verdicts:
            return False
        return None if None in verdicts else True

    @property
    def words(self) -> str:
        if self.is_sound:
            return "Sound: every byte is what it should be."
        if self.is_sound is None:
            return (
                "Read, and its hash kept: nothing says what it should be. The next "
                "verification compares with it."
            )
        bad = ", ".join(file.file for file in self.files if file.is_sound is False)
        return f"Not what it should be: {bad}. Download it again, then rescan."

    def as_json(self) -> dict[str, Any]:
        return {
            "model_id": self.model_id,
            "is_sound": self.is_sound,
            "verified_at": self.verified_at.isoformat(),
            "files": [file._asdict() for file in self.files],
        }


def verify_model(
    model: DiscoveredModel, on_bytes: Callable[[int], None] = lambda _count: None
) -> Verified:
    """Read the files of a model, compare, and write it onto its current version.

    A file that is no blob is compared with what it was when it was read before, as long as
    a scan sees no other file there. What another node's copy is, as `as_on` gives it, is
    written onto the copy: it says nothing of the files that others have.

    Args:
        on_bytes: called with the number of bytes just read.

    Raises:
        FilesChangedError: they are not those that were scanned.
        OSError: a file cannot be read.
    """
    _require_as_scanned(model)
    version = current_version(model)
    found = [
        VerifiedFile(item.path.name, item.actual, item.expected, item.is_sound)
        for item in verify(model, on_bytes, known=version.sha256)
    ]
    _require_as_scanned(model)  # nor has a file been replaced as it was read
    verified = Verified(model.model_id, timezone.now(), found)
    shards = {path.name for path in shard_paths(model)}  # a projector is no part of a version
    verdict: dict[str, Any] = {
        "sha256": {
            file.file: file.expected or file.sha256  # what it should be is kept
            for file in found
            if file.file in shards
        }
    }
    if (copy := copy_of(model)) is None:
        verdict |= {"verified_at": verified.verified_at, "is_sound": verified.is_sound}
    else:
        _write_onto(copy, verified)
    ModelVersion.objects.filter(pk=version.pk).update(**verdict)
    publish(MODEL, {"model_id": model.model_id, "is_sound": verified.is_sound})
    return verified


def is_spoilt(model: DiscoveredModel) -> bool:
    """Whether the files of a model were other bytes than they should be, when last read."""
    current = ModelVersion.objects.filter(model=model, is_current=True)
    return current.filter(is_sound=False).exists()


def note_mended(model: DiscoveredModel, sha256: Collection[str]) -> None:
    """Have a spoilt model be sound, if all of its files are among those of a download.

    Args:
        sha256: of files that were read to their ends just now, and are what they should be.
    """
    named = {sha256_named(path.resolve()) for path in verified_paths(model)}
    if not named <= set(sha256):
        return
    version = ModelVersion.objects.filter(model=model, is_current=True, is_sound=False)
    # With the bytes that it had, what the hub has was another version.
    version.filter(hub_state=HubState.OTHER).update(hub_state="")
    if version.update(is_sound=True, verified_at=timezone.now()):
        publish(MODEL, {"model_id": model.model_id, "is_sound": True})


def _write_onto(copy: int, verified: Verified) -> None:
    """Have a copy that is unsound not be launched, until it is sound or another."""
    copies = ModelCopy.objects.filter(pk=copy)
    if verified.is_sound is False:
        copies.update(problem=UNSOUND)
    else:
        copies.filter(problem=UNSOUND).update(problem="")


def _require_as_scanned(model: DiscoveredModel) -> None:
    """Refuse files that no version is of. A blob is held against its name, whatever it is."""
    known = KnownFile.of_json(model.file_signature)
    if known is None:
        return  # another version of MAGI scanned it, and knew other things of it
    paths = shard_paths(model)
    files = [scanned_file(path, path.stat()) for path in paths]
    if all(sha256_named(path.resolve()) for path in paths):
        return
    newest = max(file.mtime_ns for file in files)
    is_same = known.is_same_file(files[0]) and known.newest_mtime_ns == newest
    if not is_same or known.size_bytes != sum(file.size for file in files):
        raise FilesChangedError(model.model_id)
