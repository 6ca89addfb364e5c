"""What is known of a machine, as values: read on it, or from what its node wrote down."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Memory:
    """The machine's, or its container's where that has less.

    Available is what a program can have without swapping: the page cache counts as
    available, and mapped weights are page cache.
    """

    total_bytes: int
    available_bytes: int


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. Its bytes are memory of its own, which is not among the machine's.

    One that shares the machine's memory may have none of its own, as Apple's.
    """

    name: str
    total_bytes: int
    free_bytes: int
    used_bytes: int
    vendor: str = ""  # NVIDIA, AMD, Intel, Apple
    driver: str = ""  # its name, and its version where that is known
    shares_memory: bool = False


@dataclass(frozen=True, slots=True)
class Disk:
    """What one file system has, on which models lie or downloads go."""

    path: str  # where it is mounted
    total_bytes: int
    free_bytes: int  # that this user may have
    kind: str = ""  # nvme, ssd, hdd, network, memory; empty where it is not known
    filesystem: str = ""  # ext4, apfs, nfs4…
    scan_roots: tuple[str, ...] = ()
    downloads: tuple[str, ...] = ()  # folders that downloads go to


@dataclass(frozen=True, slots=True)
class Hardware:
    """A machine at one moment; `notes` are sentences on what could not be seen."""

    cpu: str
    physical_cores: int
    logical_cores: int
    total_bytes: int
    available_bytes: int
    swap_total_bytes: int
    swap_used_bytes: int
    gpus: tuple[Gpu, ...]
    notes: tuple[str, ...]
    read_at: float  # Unix time, seconds
    cpu_flags: tuple[str, ...] = ()  # those that matter to llama.cpp, by its names
    performance_cores: int | None = None  # of a processor that has slower ones, too
    cpu_limit: float | None = None  # processors that a container or an affinity allows
    numa_nodes: int = 1
    disks: tuple[Disk, ...] = ()
    disk_notes: tuple[str, ...] = ()  # as `notes`, and with the paths of folders
    memory_bandwidth_bytes_per_s: int | None = None  # as read by all cores; None: not measured
    memory_bandwidth_error_bytes_per_s: int | None = None  # half of the spread of its rounds
    memory_bandwidth_how: str = ""  # it was measured, or why it could not be
    memory_bandwidth_at: float | None = None  # Unix time, seconds

    def as_json(self) -> dict[str, Any]:
        told = asdict(self)
        return {
            **told,
            "gpus": list(told["gpus"]),
            "notes": list(self.notes),
            "cpu_flags": list(self.cpu_flags),
            "disk_notes": list(self.disk_notes),
            "disks": [
                {**disk, **{name: list(disk[name]) for name in ("scan_roots", "downloads")}}
                for disk in told["disks"]
            ],
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self | None:
        """Return what `as_json` gave, by this version of MAGI or an older one.

        None, where nothing was told: a node that has never had a worker.
        """
        if not told.get("total_bytes"):
            return None
        plain: dict[str, Any] = {
            "cpu": "",
            "physical_cores": 1,
            "logical_cores": 1,
            "available_bytes": 0,
            "swap_total_bytes": 0,
            "swap_used_bytes": 0,
            "read_at": 0.0,
            **_known(cls, told),
        }
        disks = tuple(
            Disk(
                **{
                    **_known(Disk, disk),
                    "scan_roots": tuple(disk.get("scan_roots", ())),
                    "downloads": tuple(disk.get("downloads", ())),
                }
            )
            for disk in told.get("disks", ())
        )
        gpus = tuple(
            Gpu(**{"free_bytes": 0, "used_bytes": 0, **_known(Gpu, gpu)})
            for gpu in told.get("gpus", ())
        )
        names = ("notes", "cpu_flags", "disk_notes")
        lists = {name: tuple(told.get(name, ())) for name in names}
        return cls(**{**plain, **lists, "gpus": gpus, "disks": disks})


def without_paths(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `as_json` gave without where things lie on the disks."""
    hidden: dict[str, Any] = {"path": None, "scan_roots": [], "downloads": []}
    shown = dict(told)
    if "disks" in shown:
        shown |= {"disks": [{**disk, **hidden} for disk in shown["disks"]], "disk_notes": []}
    return shown


def _known(kind: type, told: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: told[field.name] for field in fields(kind) if field.name in told}
