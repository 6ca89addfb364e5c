"""How fast a model will answer: as it was measured here, else reckoned from the memory.

Each token that is generated reads all weights that take part in it, and the KV cache, once.
So the memory's bandwidth is what generation on a processor is bound by. How much of it is
reached, other models show that were measured on the machine; else it is a rule of thumb.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from statistics import median
from typing import Any, Final

# Of what a plain read by as many threads reaches: the rest goes into the work between the
# reads. docs/recommendations.md has what was measured.
EFFICIENCY: Final = 0.6
FILLED_CONTEXT: Final = 2048  # tokens that an ordinary conversation has in its cache


class Source(StrEnum):
    BENCHMARK = "benchmark"
    BANDWIDTH = "bandwidth"
    NONE = "none"

    @property
    def label(self) -> str:
        return {"benchmark": "measured", "bandwidth": "reckoned"}.get(self, "not known")


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens of an answer for each second, and words on where that is from."""

    source: Source
    how: str
    tokens_per_s: float | None = None

    def as_json(self) -> dict[str, Any]:
        rounded = None if self.tokens_per_s is None else round(self.tokens_per_s, 2)
        return {"tokens_per_s": rounded, "source": self.source.value, "how": self.how}


@dataclass(frozen=True, slots=True)
class Reading:
    """How fast weights are read on a machine; `words` say from what that is known."""

    bytes_per_s: float
    words: str


def reading_of(
    bandwidth_bytes_per_s: int | None,
    *,
    threads: int,
    cores: int,
    seen_bytes_per_s: Sequence[float] = (),
) -> Reading | None:
    """Return how fast weights will be read; None where nobody has measured anything.

    Args:
        bandwidth_bytes_per_s: as all cores read the memory.
        threads: that a server is given.
        seen_bytes_per_s: what models reached that were measured on the machine.
    """
    if seen_bytes_per_s:
        count = len(seen_bytes_per_s)
        seen = median(seen_bytes_per_s)
        models = "1 model" if count == 1 else f"{count} models"
        return Reading(seen, f"at the {_gb(seen)}/s that {models} reached here")
    if not bandwidth_bytes_per_s:
        return None
    share = EFFICIENCY * min(1.0, threads / cores)
    words = f"at {share:.0%} of the memory's {_gb(bandwidth_bytes_per_s)}/s"
    return Reading(bandwidth_bytes_per_s * share, words)


def measured_speed(tokens_per_s: float, at: datetime | None) -> Speed:
    when = f" on {at:%Y-%m-%d}" if at else ""
    return Speed(Source.BENCHMARK, f"measured here{when}", tokens_per_s)


def no_speed(why: str) -> Speed:
    return Speed(Source.NONE, f"not known: {why}")


def reckoned_speed(*, read_bytes: float, reading: Reading | None, is_on_gpu: bool) -> Speed:
    """Return what the memory allows.

    Args:
        read_bytes: for each token, as `bytes_of_token` has them.
        is_on_gpu: whether layers lie in a GPU's own memory, whose bandwidth nobody measured.
    """
    if is_on_gpu:
        why = "nobody has measured a GPU's memory. `manage.py bench` measures the model"
        return no_speed(why)
    if reading is None:
        why = "the memory's bandwidth was not measured. `manage.py hardware --refresh` does it"
        return no_speed(why)
    how = f"reckoned: {_gb(read_bytes)} read for each token, {reading.words}"
    return Speed(Source.BANDWIDTH, how, reading.bytes_per_s / max(1.0, read_bytes))


def bytes_of_token(
    weights_bytes: int, *, active_share: float, kv_cache_bytes: int = 0, ctx_size: int = 0
) -> float:
    """Return what is read for one token.

    Args:
        active_share: of the weights, those that one token uses; less than 1 for a mixture
            of experts.
        kv_cache_bytes: of `ctx_size` tokens, of which FILLED_CONTEXT at most count.
    """
    filled = min(FILLED_CONTEXT, ctx_size) / ctx_size if ctx_size else 0.0
    return weights_bytes * active_share + kv_cache_bytes * filled


def _gb(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.3g} GB"
