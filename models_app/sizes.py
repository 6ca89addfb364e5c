"""Model sizes as people write them: `14b`, `0.5B`, `135M`, `8x7b`, `A3B`."""

import math
import re
from dataclasses import dataclass
from typing import Self

# Experts, the letter of Gemma's "effective" sizes, the number, the unit.
_SIZE = re.compile(
    r"(?:(?P<experts>\d{1,3})x)?e?(?P<number>\d{1,5}(?:\.\d{1,3})?)(?P<unit>[mbt])", re.ASCII
)
_ACTIVE = re.compile(r"a(?P<number>\d{1,4}(?:\.\d{1,3})?)(?P<unit>[mb])", re.ASCII)
_BILLIONS = {"m": 0.001, "b": 1.0, "t": 1000.0}


@dataclass(frozen=True, slots=True)
class Size:
    params: float  # billions, all experts together
    text: str  # as it stands in a model id

    @classmethod
    def parse(cls, token: str) -> Self | None:
        """Return the size that a whole token states, or None.

        >>> Size.parse("135M")
        Size(params=0.135, text='135m')
        >>> Size.parse("8x7b")
        Size(params=56.0, text='8x7b')
        """
        match = _SIZE.fullmatch(token.lower())
        if match is None:
            return None
        number, unit = match["number"], match["unit"]
        experts = int(match["experts"] or 1)
        params = round(float(number) * _BILLIONS[unit] * experts, 6)
        if not params:
            return None
        if match["experts"]:
            text = f"{experts}x{number}{unit}"
        elif unit == "m":
            text = f"{number}m"
        else:
            text = f"{params:.1f}b"
        return cls(params, text.replace(".", "p"))

    @classmethod
    def of_count(cls, parameter_count: int) -> Self | None:
        """Return an exact count, rounded to two significant digits; None for no tensors."""
        if parameter_count <= 0:
            return None
        digits = 1 - math.floor(math.log10(parameter_count))
        rounded = round(parameter_count, digits)
        billions = rounded / 10**9
        text = f"{billions:.1f}b" if billions >= 1 else f"{rounded / 10**6:g}m"
        return cls(billions, text.replace(".", "p"))


def parse_active_params(token: str) -> float | None:
    """Return the billions of parameters used for one token: `A3B` → 3.0."""
    match = _ACTIVE.fullmatch(token.lower())
    if match is None:
        return None
    return round(float(match["number"]) * _BILLIONS[match["unit"]], 6)
