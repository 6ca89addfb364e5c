"""What a benchmark does: how long the prompts are, how many ask at once, how often."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

from servers_app.errors import BenchmarkInvalidError

OWN: Final = "own"  # a private server, launched for it
RUNNING: Final = "running"  # the model's server, as it runs
TARGETS: Final = (OWN, RUNNING)

MAX_SHOWN_CHARS: Final = 50
LONGEST: Final = 8  # numbers in a list


@dataclass(frozen=True, slots=True)
class Bound:
    """From which number to which one a part of a plan may be."""

    least: int
    most: int


CONTEXT: Final = Bound(1, 1_000_000)
CLIENTS: Final = Bound(1, 32)
REPEATS: Final = Bound(1, 50)
TOKENS: Final = Bound(2, 4096)  # the first token is the prompt's: of it alone there is no rate
MAX_SECONDS: Final = Bound(10, 24 * 3600)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured.

    Contexts are lengths of prompts, in tokens; those that a slot has no room for are left
    out, and that is noted. The first is what several clients ask with.
    """

    contexts: tuple[int, ...] = (128, 512, 2048, 4096)
    clients: tuple[int, ...] = (1, 2, 4)
    repeats: int = 5
    tokens: int = 64  # generated for each answer
    target: str = OWN
    max_seconds: int = 1800  # afterwards no round is begun

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "contexts": list(self.contexts),
            "clients": list(self.clients),
        }


QUICK: Final = Plan(contexts=(128, 512), clients=(1, 2), repeats=3, tokens=32)


def plan_of(given: Mapping[str, Any], *, base: Plan | None = None) -> Plan:
    """Return the plan that says what is given, and otherwise what `base` does.

    Raises:
        BenchmarkInvalidError: something cannot be so; the message says what can.
    """
    values = {**(base or Plan()).as_json(), **given}
    target = values["target"]
    if target not in TARGETS:
        msg = _refused("target", target, f"one of: {', '.join(TARGETS)}")
        raise BenchmarkInvalidError(msg)
    return Plan(
        contexts=_numbers("contexts", values["contexts"], CONTEXT),
        clients=_numbers("clients", values["clients"], CLIENTS),
        repeats=_number("repeats", values["repeats"], REPEATS),
        tokens=_number("tokens", values["tokens"], TOKENS),
        target=target,
        max_seconds=_number("max_seconds", values["max_seconds"], MAX_SECONDS),
    )


def _numbers(name: str, value: object, bound: Bound) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= LONGEST:
        msg = _refused(name, value, f"a list of 1 to {LONGEST} whole numbers")
        raise BenchmarkInvalidError(msg)
    return tuple(dict.fromkeys(_number(name, each, bound) for each in value))


def _number(name: str, value: object, bound: Bound) -> int:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    number = cast("int", value) if is_whole else bound.least - 1
    if not bound.least <= number <= bound.most:
        msg = _refused(name, value, f"a whole number from {bound.least} to {bound.most}")
        raise BenchmarkInvalidError(msg)
    return number


def _refused(name: str, value: object, accepted: str) -> str:
    shown = str(value) if isinstance(value, str | int | float) else type(value).__name__
    return f"{name}={shown[:MAX_SHOWN_CHARS]}: give {accepted}."
