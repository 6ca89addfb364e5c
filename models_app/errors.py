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
├── NoTierError                a model of that kind has no tier to override
├── UnknownTaskError           no task of that id, or its result is kept no longer
├── QueueUnavailableError      the broker does not take a task
└── NoWorkerError              no worker of the node would do it
"""

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
