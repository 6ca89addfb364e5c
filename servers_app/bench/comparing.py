"""Whether one benchmark differs from another by more than noise, in words."""

from dataclasses import dataclass
from typing import Any, Final

from servers_app.bench.results import DEPTH, LOAD, MORE_IS_BETTER, TOGETHER, Figure, figures_of
from servers_app.bench.spread import Difference, Direction, difference, judge
from servers_app.bench.welch import holm
from servers_app.benchmark_models import Benchmark, BenchmarkState
from servers_app.errors import BenchmarkInvalidError, BenchmarkNotFinishedError

NAMES: Final = {
    "prompt_tokens_per_s": "prompt, tokens/s",
    "generation_tokens_per_s": "generation, tokens/s",
    "total_tokens_per_s": "all clients, tokens/s",
    "first_token_ms": "first token, ms",  # nosec B105
    "latency_ms": "whole answer, ms",
    "cold_s": "cold load, s",
    "warm_s": "warm load, s",
}
_VERBS: Final = {
    "prompt_tokens_per_s": "reads a prompt",
    "generation_tokens_per_s": "generates",
    "total_tokens_per_s": "generates for several clients",
    "first_token_ms": "gives its first token",  # nosec B105
    "latency_ms": "answers",
    "cold_s": "loads",
    "warm_s": "loads",
}
_COMPARED: Final = (DEPTH, TOGETHER, LOAD)


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of both, and what the difference comes to."""

    figure: Figure
    difference: Difference
    p: float | None  # as it counts among all the lines
    direction: Direction

    @property
    def label(self) -> str:
        measured, name, context, clients = self.figure.key
        where = f" at {context:,} tokens" if measured == DEPTH else ""
        where = f" with {clients} at once" if measured == TOGETHER else where
        return f"{NAMES[name]}{where}"

    @property
    def sentence(self) -> str:
        """Say it in words: `12 % faster, more than the spread of both`."""
        percent = abs(self.difference.percent)
        if self.direction == Direction.NOISE:
            return f"no more than noise ({self.difference.percent:+.1f} %)"
        if self.direction == Direction.UNKNOWN:
            return (
                f"{self.difference.percent:+.1f} %, but one sample says nothing of its spread"
            )
        word = "faster" if self.direction == Direction.BETTER else "slower"
        return f"{percent:.1f} % {word}, more than the spread of both"

    def as_json(self) -> dict[str, Any]:
        return {
            "measured": self.figure.measured,
            "figure": self.figure.name,
            "context": self.figure.context,
            "clients": self.figure.clients,
            "a": self.difference.before.as_json(),
            "b": self.difference.after.as_json(),
            "change_percent": self.difference.percent,
            "p": self.p,
            "verdict": self.direction.value,
            "sentence": self.sentence,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two benchmarks side by side: the second against the first."""

    a: Benchmark
    b: Benchmark
    caveats: tuple[str, ...]  # what else differs than what is meant to
    lines: tuple[Line, ...]

    @property
    def verdict(self) -> str:
        """Say what it comes to, in a sentence or two."""
        told = [line for line in self.lines if line.direction in _TELLS]
        if not any(line.p is not None for line in self.lines):
            said = "With single samples nothing can be told; measure with more repeats."
        elif not told:
            said = "No difference that is more than noise."
        else:
            said = " ".join(f"{self._told(name, told)}" for name in _names(told))
        return " ".join([*self.caveats, said])

    def _told(self, name: str, told: list[Line]) -> str:
        lines = [line for line in told if line.figure.name == name]
        most = max(lines, key=lambda line: abs(line.difference.change))
        some = sum(line.figure.name == name for line in self.lines)
        of = f" in {len(lines)} of {some} cases, most" if some > 1 else ""
        return f"The second {_VERBS[name]}{of} {most.sentence}."

    @property
    def is_noise(self) -> bool:
        return not any(line.direction in _TELLS for line in self.lines)

    def as_json(self) -> dict[str, Any]:
        return {
            "a": self.a.pk,
            "b": self.b.pk,
            "verdict": self.verdict,
            "is_noise": self.is_noise,
            "caveats": list(self.caveats),
            "lines": [line.as_json() for line in self.lines],
        }


_TELLS: Final = (Direction.BETTER, Direction.WORSE)


def compare(a: Benchmark, b: Benchmark) -> Comparison:
    """Compare the second of two benchmarks with the first.

    Those of two machines, models or builds can be compared, and it is said that they are.

    Raises:
        BenchmarkNotFinishedError: one is under way, or has failed.
        BenchmarkInvalidError: they have no figure in common.
    """
    for each in (a, b):
        if each.state != BenchmarkState.FINISHED:
            msg = f"Benchmark {each.pk} is {each.state}; only finished ones can be compared."
            raise BenchmarkNotFinishedError(msg)
    of_b = {figure.key: figure for figure in figures_of(b)}
    pairs = [
        (figure, difference(figure.samples, of_b[figure.key].samples))
        for figure in figures_of(a)
        if figure.measured in _COMPARED and figure.key in of_b
    ]
    if not pairs:
        msg = (
            f"Benchmarks {a.pk} and {b.pk} have no figure in common: measure both with the "
            "same contexts and clients."
        )
        raise BenchmarkInvalidError(msg)
    counted = holm([found.p for _, found in pairs])
    lines = tuple(
        Line(
            figure,
            found,
            p,
            judge(found, p, more_is_better=MORE_IS_BETTER[figure.name]),
        )
        for (figure, found), p in zip(pairs, counted, strict=True)
    )
    return Comparison(a, b, tuple(_caveats(a, b)), lines)


def _caveats(a: Benchmark, b: Benchmark) -> list[str]:
    found = []
    if (a.node, a.machine) != (b.node, b.machine):
        found.append(
            f"They were measured on different machines ({_place(a)}; {_place(b)}), so this "
            "compares the machines as well."
        )
    if a.model_id != b.model_id:
        found.append(f"They are of two models: {a.model_id}, {b.model_id}.")
    if a.build != b.build:
        found.append(f"Their builds differ: {a.build or 'unknown'}, {b.build or 'unknown'}.")
    differs = sorted(
        name
        for name in {*a.settings, *b.settings}
        if a.settings.get(name) != b.settings.get(name)
    )
    if differs:
        found.append(f"Their settings differ in {', '.join(differs)}.")
    if a.plan.get("tokens") != b.plan.get("tokens"):
        found.append("Their answers are not equally long.")
    if a.plan.get("target") != b.plan.get("target"):
        found.append("One had a server of its own, and the other one that others use.")
    return found


def _place(benchmark: Benchmark) -> str:
    return f"{benchmark.node}: {benchmark.machine or 'unknown'}"


def _names(lines: list[Line]) -> list[str]:
    return list(dict.fromkeys(line.figure.name for line in lines))
