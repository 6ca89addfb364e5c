"""What a scan remembers of a file, so that the next one need not open it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from models_app.projectors import Projector
from models_app.scanned import ModelFiles, ScannedFile

# What discovery makes of a file. With one more field, another rule for one, or more that is
# kept of it, count up: the first scan of the new version then reads every file once again.
READER = 3


@dataclass(frozen=True, slots=True)
class _Known:
    device: int
    inode: int
    file_size: int  # bytes; of a model, its first shard's
    mtime_ns: int

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> Self | None:
        """Return what was remembered; None if another version of MAGI did."""
        if values.get("reader") != READER:
            return None
        try:
            return cls(**{name: value for name, value in values.items() if name != "reader"})
        except TypeError:
            return None

    def as_json(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"reader": READER, **values}

    def is_same_file(self, file: ScannedFile) -> bool:
        return (self.device, self.inode, self.file_size, self.mtime_ns) == (
            file.device,
            file.inode,
            file.size,
            file.mtime_ns,
        )


@dataclass(frozen=True, slots=True)
class KnownFile(_Known):
    """What a model's files looked like when it was read; all of it fits into JSON.

    While it is equal, all that is known of the model is as it was.
    """

    file_path: str
    size_bytes: int  # of all shards
    newest_mtime_ns: int  # of all shards
    projectors: str  # those beside it, one a line
    remarks: str  # what the folder, and not the file, says against it

    @classmethod
    def of_group(cls, group: ModelFiles, projectors: Sequence[Projector]) -> Self:
        """Return how a model looks now, beside the projectors of its folder."""
        first = group.files[0]
        beside = [f"{item.path} {item.projection_dim}" for item in projectors]
        if group.projector_path is not None:
            beside.append(str(group.projector_path))
        return cls(
            device=first.device,
            inode=first.inode,
            file_size=first.size,
            mtime_ns=first.mtime_ns,
            file_path=str(first.path),
            size_bytes=sum(file.size for file in group.files),
            newest_mtime_ns=max(file.mtime_ns for file in group.files),
            projectors="\n".join(sorted(beside)),
            remarks="; ".join(filter(None, (group.problem, *group.warnings))),
        )


@dataclass(frozen=True, slots=True)
class KnownSkip(_Known):
    """Why a file was no model when it was read; all of it fits into JSON."""

    reason: str
    projection_dim: int | None = None  # of a projector
