"""What a machine is good for by its memory and its cores alone: the rules to begin with.

They are the table of docs/recommendations.md. Nothing is known here of the models that
there are; fitting.py and ranking.py know better where a model's own figures are known.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from servers_app.hardware import Hardware, own_memory

GIB: Final = 2**30
# A machine sold with 32 GB tells of 31.2: its firmware and its kernel keep up to 3 %.
TOLD: Final = 0.97
MANY_CORES: Final = 8
SMALL_GIB, MEDIUM_GIB, LARGE_GIB = 4, 8, 16  # available
MID_RANGE_GIB, HIGH_END_GIB = 16, 32  # in all


class ModelClass(StrEnum):
    """Which size of model the memory is enough for, as people name it."""

    SMALLEST = "smallest"
    TWO = "2B"
    FOUR = "4B"
    NINE = "9B+"

    @property
    def below_params(self) -> float | None:
        """Billions of parameters that its models have fewer of; None: any number."""
        return {ModelClass.SMALLEST: 1.5, ModelClass.TWO: 3.5, ModelClass.FOUR: 7.0}.get(self)

    def has(self, size_params: float | None) -> bool:
        """Whether a model is of this class or a smaller one; one of unknown size is."""
        limit = self.below_params
        return limit is None or size_params is None or size_params < limit


class MachineClass(StrEnum):
    HIGH_END = "high-end"
    MID_RANGE = "mid-range"
    LOW_END = "low-end"

    @property
    def preset(self) -> str:
        """The sampling preset that goes with it."""
        return {
            MachineClass.HIGH_END: "quality",
            MachineClass.MID_RANGE: "balanced",
            MachineClass.LOW_END: "fast",
        }[self]


@dataclass(frozen=True, slots=True)
class Floor:
    """What is recommended for a machine of which nothing else is known.

    `max_tokens` are those of an answer, `context_length` those of a conversation;
    `batch_size` counts the requests worked on at once, llama-server's `parallel`.
    """

    machine_class: MachineClass
    model_class: ModelClass
    preset: str
    max_tokens: int
    context_length: int
    num_threads: int
    batch_size: int
    warning: str  # empty: the memory is enough for a model
    reasons: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "reasons": list(self.reasons)}


def floor_of(hardware: Hardware, *, ours_bytes: int = 0, ours_vram_bytes: int = 0) -> Floor:
    """Apply the rules to a machine.

    Args:
        ours_bytes, ours_vram_bytes: what our own servers have of the memory that is not
            available, and of the GPUs' own: they would be stopped for others.
    """
    free = min(hardware.total_bytes, hardware.available_bytes + ours_bytes)
    gpus = own_memory(hardware.gpus)
    free_vram = sum(gpu.free_bytes for gpu in gpus) + ours_vram_bytes
    vram = min(sum(gpu.total_bytes for gpu in gpus), free_vram)
    memory, where = (vram, "free on GPUs") if vram > free else (free, "available")
    cores = cores_of(hardware)
    machine_class = _machine_class(hardware.total_bytes, cores)
    model_class = _model_class(memory)
    max_tokens, context_length = _lengths(memory)
    total_gib, gib = hardware.total_bytes / GIB, memory / GIB
    of_cores = f"{cores} core{'' if cores == 1 else 's'}"
    return Floor(
        machine_class=machine_class,
        model_class=model_class,
        preset=machine_class.preset,
        max_tokens=max_tokens,
        context_length=context_length,
        num_threads=max(1, cores - (2 if cores >= MANY_CORES else 1)),
        batch_size=2 if cores >= MANY_CORES else 1,
        warning=_warning(gib) if model_class == ModelClass.SMALLEST else "",
        reasons=(
            f"{total_gib:.1f} GiB of memory and {of_cores}: a {machine_class} machine, "
            f"preset {machine_class.preset}",
            f"{gib:.1f} GiB {where}: {_words(model_class)}",
        ),
    )


def cores_of(hardware: Hardware) -> int:
    """Return the physical cores, or fewer where a container may not have them all."""
    cores = hardware.physical_cores
    if hardware.cpu_limit is not None:
        cores = min(cores, int(hardware.cpu_limit))
    return max(1, cores)


def _machine_class(total_bytes: int, cores: int) -> MachineClass:
    if total_bytes >= HIGH_END_GIB * GIB * TOLD and cores >= MANY_CORES:
        return MachineClass.HIGH_END
    if total_bytes >= MID_RANGE_GIB * GIB * TOLD:
        return MachineClass.MID_RANGE
    return MachineClass.LOW_END


def _model_class(memory_bytes: int) -> ModelClass:
    if memory_bytes < SMALL_GIB * GIB:
        return ModelClass.SMALLEST
    if memory_bytes < MEDIUM_GIB * GIB:
        return ModelClass.TWO
    if memory_bytes <= LARGE_GIB * GIB:
        return ModelClass.FOUR
    return ModelClass.NINE


def _lengths(memory_bytes: int) -> tuple[int, int]:
    """Return the tokens of an answer, and of a context."""
    if memory_bytes < MEDIUM_GIB * GIB:
        return 512, 2048
    if memory_bytes <= LARGE_GIB * GIB:
        return 1024, 4096
    return 2048, 8192


def _warning(gib: float) -> str:
    return (
        f"Only {gib:.1f} GiB of memory are available, which is less than {SMALL_GIB}: take the "
        "smallest model, or end other programs first."
    )


def _words(model_class: ModelClass) -> str:
    match model_class:
        case ModelClass.SMALLEST:
            return "the smallest model"
        case ModelClass.NINE:
            return "models of 9B and more, quality first"
    return f"models of about {model_class}"
