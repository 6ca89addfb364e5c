"""Errors raised by models_app.

ModelsError
├── GGUFError                  the file is not a GGUF file we can read
│   ├── NotGGUFError           the magic bytes are wrong
│   ├── TruncatedGGUFError     the file ends before its header or its tensors do
│   ├── UnsupportedGGUFError   a version or a value type that we do not know
│   └── MalformedGGUFError     the header contradicts itself, or is absurd
├── ScanRootError              a scan root cannot be looked into
├── RegistryFileError          a file is no registry as `registry export` writes it
├── UnknownModelError          no model of that id
├── UnknownNodeError           no node of that name
├── NotOnNodeError             a node has no files of a model
├── AlreadyThereError          a node has a model already that is to be copied there
├── FilesChangedError          a model's files are not those that were scanned
├── NoTierError                a model of that kind has no tier to override
├── UnknownTaskError           no task of that id, or its result is kept no longer
├── DownloadError              something was not fetched; `code` is a word for programs
│   ├── InvalidReferenceError      what is asked for is no name of a model
│   ├── InvalidSearchError         a search is for words that could not be sent
│   ├── UnknownReferenceError      the hub has no such repo, revision, name or tag
│   ├── NoQuantError               the repo has it in other quantizations
│   ├── GatedError                 the hub wants to know who asks
│   ├── OfflineError               HF_HUB_OFFLINE
│   ├── UnavailableError           the hub does not answer, for longer than we wait
│   ├── DiskFullError              it does not fit on the disk
│   ├── WrongHashError             the bytes are not those that the hub tells of
│   └── UnsupportedDownloadError   there is nothing in it for llama-server
├── QueueUnavailableError      the broker does not take a task
└── NoWorkerError              no worker of the node would do it
"""

from collections.abc import Iterable
from pathlib import Path


class ModelsError(Exception):
    """Base class of every error this app raises on purpose."""


class GGUFError(ModelsError):
    """A file that cannot be registered; `reason` is what a scan report shows."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class NotGGUFError(GGUFError):
    """The first four bytes are not b"GGUF"."""

    def __init__(self, path: Path, reason: str = "not a GGUF file") -> None:
        super().__init__(path, reason)


class TruncatedGGUFError(GGUFError):
    """The file ends early, as a half-finished download does."""

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(path, f"truncated: {detail}")


class UnsupportedGGUFError(GGUFError):
    """A GGUF version or a metadata value type that this reader does not know."""


class MalformedGGUFError(GGUFError):
    """A header no writer makes by mistake: counts, lengths or types that cannot be."""

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(path, f"malformed: {detail}")


class ScanRootError(ModelsError):
    """A scan root is missing, is no folder, or may not be read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class RegistryFileError(ModelsError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}.")


class UnknownModelError(ModelsError):
    def __init__(
        self, model_id: str, hint: str = "`manage.py models list` shows them."
    ) -> None:
        super().__init__(f"Model not found: {model_id}. {hint}")


class UnknownNodeError(ModelsError):
    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        here = ", ".join(known) or "none: start a worker"
        super().__init__(f"Node not found: {name}. Available: {here}.")


class NotOnNodeError(ModelsError):
    def __init__(self, model_id: str, node: str) -> None:
        super().__init__(
            f"{model_id} is not on node {node}. Copy it there: manage.py copy {model_id} "
            f"--to {node}; or rescan that node."
        )


class AlreadyThereError(ModelsError):
    def __init__(self, model_id: str, node: str) -> None:
        super().__init__(f"{model_id} is on node {node} already. Nothing is copied.")


class FilesChangedError(ModelsError):
    def __init__(self, model_id: str) -> None:
        super().__init__(
            f"The files of {model_id} have changed since they were scanned. Rescan first."
        )


class NoTierError(ModelsError):
    def __init__(self, model_id: str, kind: str) -> None:
        super().__init__(
            f"{model_id} has no tier to override: its kind is {kind}, and only models that "
            "chat have tiers."
        )


class UnknownTaskError(ModelsError):
    def __init__(self, task_id: object) -> None:
        super().__init__(
            f"Task not found: {task_id}. What became of a task is kept for an hour."
        )


class QueueUnavailableError(ModelsError):
    """Redis cannot be reached.

    What was wanted is in the database all the same, and is done when it is back.
    """

    def __init__(self) -> None:
        super().__init__("The queue (Redis) cannot be reached. Start it, or set REDIS_URL.")


class NoWorkerError(ModelsError):
    """No worker of the node answered within a second."""

    def __init__(self, node: str) -> None:
        super().__init__(f"No worker of node '{node}' answers. Start one (make run starts it).")


class DownloadError(ModelsError):
    """Something was not fetched. Its text says what to do; `code` is for programs."""

    code = "failed"


class InvalidReferenceError(DownloadError):
    code = "invalid"

    def __init__(self, reference: str, reason: str) -> None:
        super().__init__(
            f"{reference!r} is no model to fetch: {reason}. Give org/repo or org/repo:QUANT "
            "(Hugging Face), or name:tag (Ollama)."
        )


class InvalidSearchError(DownloadError):
    code = "invalid"


class UnknownReferenceError(DownloadError):
    code = "unknown"


class NoQuantError(DownloadError):
    code = "no_quant"


class GatedError(DownloadError):
    code = "gated"


class OfflineError(DownloadError):
    code = "offline"


class UnavailableError(DownloadError):
    code = "unavailable"


class DiskFullError(DownloadError):
    code = "disk_full"


class WrongHashError(DownloadError):
    code = "wrong_hash"


class UnsupportedDownloadError(DownloadError):
    code = "unsupported"
