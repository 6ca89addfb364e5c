"""What a search may turn, and to which values. Pure.

A step is a change of one or several settings that go together: an ubatch is no larger than
its batch, and the two halves of the KV cache are turned as one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from servers_app.tuning.goals import Goal

Step: TypeAlias = dict[str, Any]

UBATCHES: Final = (64, 128, 256, 512, 1024)
BATCHES: Final = (256, 512, 1024, 2048)
EXACT_CACHES: Final = ("f16", "q8_0")  # nobody has found a difference in quality
LOSSY_CACHES: Final = ("q5_1", "q4_0")
QUANTIZED: Final = frozenset({"q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"})
_FOR: Final[Mapping[str, frozenset[Goal]]] = {
    "n_gpu_layers": frozenset(Goal),
    "threads": frozenset(Goal),
    "threads_batch": frozenset({Goal.PROMPT, Goal.BOTH}),
    "ubatch_size": frozenset({Goal.PROMPT, Goal.BOTH}),
    "batch_size": frozenset({Goal.PROMPT, Goal.BOTH}),
    "flash_attn": frozenset(Goal),
    "cache_type": frozenset(Goal),
}


@dataclass(frozen=True, slots=True)
class Machine:
    """What the values depend on."""

    cores: int  # logical
    physical_cores: int
    has_gpu: bool
    layers: int | None  # of the model


class Knob(NamedTuple):
    """One thing that is turned, and the steps that are tried of it."""

    name: str
    steps: tuple[Step, ...]


def knobs(
    settings: Mapping[str, Any], machine: Machine, goal: Goal, *, allow_lossy: bool = False
) -> list[Knob]:
    """Return what is tried from `settings` on, what matters most first."""
    steps = {
        "n_gpu_layers": _layers(machine),
        "threads": [{"threads": n} for n in thread_counts(machine)],
        "threads_batch": [{"threads_batch": n} for n in thread_counts(machine)],
        "ubatch_size": [{"ubatch_size": n} for n in UBATCHES],
        "batch_size": [{"batch_size": n} for n in BATCHES],
        "flash_attn": [{"flash_attn": "on"}, {"flash_attn": "off"}],
        "cache_type": [
            {"cache_type_k": kind, "cache_type_v": kind}
            for kind in (*EXACT_CACHES, *(LOSSY_CACHES if allow_lossy else ()))
        ],
    }
    return [
        Knob(name, tuple(tried))
        for name, tried in steps.items()
        if goal in _FOR[name] and any(map(settings.__contains__, tried[0] if tried else ()))
    ]


def thread_counts(machine: Machine) -> list[int]:
    """Return numbers of threads worth a trial, the largest first; one core is left free.

    >>> thread_counts(Machine(16, 8, False, None))
    [15, 12, 8, 7, 4]
    """
    most = max(1, machine.cores - 1)
    physical = machine.physical_cores
    wanted = {most, machine.cores * 3 // 4, physical, physical - 1, physical // 2}
    return sorted({min(most, n) for n in wanted if n >= 1}, reverse=True)


def turned(settings: Mapping[str, Any], step: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return `settings` after a step, with what must follow it; None if it changes nothing.

    A batch grows with an ubatch that would not fit it, and no smaller batch is tried than the
    ubatch. A quantized V cache is not tried without flash attention.
    """
    after = {**settings, **step}
    if "ubatch_size" in step and after.get("batch_size") is not None:
        after["batch_size"] = max(after["batch_size"], after["ubatch_size"])
    elif (after.get("ubatch_size") or 0) > (after.get("batch_size") or 0):
        return None
    if after.get("flash_attn") == "off" and after.get("cache_type_v") in QUANTIZED:
        return None
    same = all(_effect(after, name) == _effect(settings, name) for name in after)
    return None if same else after


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `after` has otherwise than `before`."""
    return {name: value for name, value in after.items() if before.get(name) != value}


def _effect(settings: Mapping[str, Any], name: str) -> Any:
    """Return what a setting comes to where it is left out."""
    value = settings.get(name)
    if value is None and name == "threads_batch":
        return settings.get("threads")
    if value is None and name in ("cache_type_k", "cache_type_v"):
        return "f16"
    return value


def _layers(machine: Machine) -> Sequence[Step]:
    if not machine.has_gpu:
        return ()
    return [{"n_gpu_layers": value} for value in _layer_counts(machine.layers)]


def _layer_counts(layers: int | None) -> Iterator[int | str]:
    yield "all"
    yield "auto"
    if layers and layers >= 4:
        yield layers * 3 // 4
        yield layers // 2
    yield 0
