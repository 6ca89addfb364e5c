"""Do all of a plan with one model, and say how it came out.

Rounds go over all contexts before the next one begins, and so over all numbers of clients: a
machine that is slower for a minute is slower for each of them, and its spread shows that.
"""

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import psutil

from models_app.models import DiscoveredModel
from servers_app.bench import measuring
from servers_app.bench.measuring import Sample, Stop, Together
from servers_app.bench.plan import RUNNING, Plan
from servers_app.bench.results import DEPTH, FIRST_ANSWER, LOAD, MACHINE, MEMORY, TOGETHER
from servers_app.bench.running import Target, launched, serving, settings_for
from servers_app.bench.spread import spread
from servers_app.errors import BenchmarkError

MIB: Final = 2**20
SPARE_TOKENS: Final = 8  # of a slot: what a build keeps for itself
LOOK_S: Final = 0.25  # at its memory
PSS_EVERY: Final = 4  # looks: the kernel walks all its pages for it
WARM_LOADS: Final = 3
LONG_LOAD_S: Final = 10.0  # one that takes so long is not repeated

Tell = Callable[[float, str], None]  # how far, 0 to 1, and what is done now


@dataclass(slots=True)
class Peak:
    """The most of its memory that a server was seen to have, MiB."""

    resident_mib: int = 0
    proportional_mib: int = 0  # PSS: of shared pages, its part; 0 where nobody says
    vram_mib: int = 0


@dataclass(slots=True)
class Outcome:
    """What was measured, as the row keeps it."""

    build: str
    settings: dict[str, Any]
    figures: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    prompt_tokens_per_s: float | None = None
    generation_tokens_per_s: float | None = None
    first_token_ms: float | None = None
    load_seconds: float | None = None
    peak_ram_mib: int | None = None
    peak_vram_mib: int | None = None


def carry_out(model: DiscoveredModel, plan: Plan, *, stop: Stop, tell: Tell) -> Outcome:
    """Measure `model`: cold, then warm, then several clients, then how it loads when warm.

    Raises:
        BenchmarkError: it could not be measured, and the message says why.
        BenchmarkCancelledError: `stop` was set.
        EngineError: there is no llama-server.
    """
    busy = os.getloadavg()[0]
    if plan.target == RUNNING:
        with serving(model) as target:
            outcome = _measured(target, plan, stop, tell)
    else:
        settings = settings_for(model)

        def is_wanted() -> bool:
            return not stop.is_set()

        tell(0.0, "loads the model, cold")
        with launched(model, settings, is_cold=True, is_wanted=is_wanted) as target:
            outcome = _measured(target, plan, stop, tell)
        outcome.load_seconds = target.load_seconds
        if target.why_not_cold:
            outcome.notes.append(f"The first load was not cold: {target.why_not_cold}.")
        tell(0.97, "loads the model, warm")
        warm: list[float] = []
        while len(warm) < WARM_LOADS and max(warm, default=0) < LONG_LOAD_S:
            with launched(model, settings, is_wanted=is_wanted) as again:
                warm.append(again.load_seconds or 0.0)
        values = {"cold_s": [target.load_seconds or 0.0], "warm_s": warm}
        outcome.figures.append(_entry(LOAD, values, is_cold=not target.why_not_cold))
    cores = os.cpu_count() or 1
    outcome.figures.append(
        {"measured": MACHINE, "load_average": round(busy, 2), "cores": cores}
    )
    if busy > cores / 2:
        outcome.notes.append(
            f"The machine was busy before it began: a load of {busy:.1f} on {cores} cores."
        )
    return outcome


def _measured(target: Target, plan: Plan, stop: Stop, tell: Tell) -> Outcome:
    contexts = [
        context
        for context in plan.contexts
        if context + plan.tokens + SPARE_TOKENS <= target.context
    ]
    if not contexts:
        msg = (
            f"A slot has {target.context} tokens, too few for the shortest prompt of the plan "
            f"and {plan.tokens} tokens after it. Ask for shorter contexts."
        )
        raise BenchmarkError(msg)
    outcome = Outcome(
        build=target.build,
        settings={name: setting.value for name, setting in target.settings.items()},
    )
    if left_out := [context for context in plan.contexts if context not in contexts]:
        outcome.notes.append(
            f"Left out, because a slot has {target.context} tokens: "
            f"{', '.join(map(str, left_out))}."
        )
    with _watched(target) as peak:
        rounds = _Rounds(target, plan, contexts, stop, tell)
        first = rounds.first_answer()
        depths = rounds.depths()
        together = rounds.together()
    outcome.notes += rounds.notes
    outcome.figures.append(_of_samples(FIRST_ANSWER, [first], contexts[0]))
    outcome.figures += [_of_samples(DEPTH, depths[each], each) for each in contexts]
    outcome.figures += [
        _of_clients(found, contexts[0], clients) for clients, found in together.items()
    ]
    outcome.figures.append(
        {
            "measured": MEMORY,
            "resident_mib": peak.resident_mib,
            "proportional_mib": peak.proportional_mib,
            "vram_mib": peak.vram_mib,
        }
    )
    shortest = outcome.figures[1]["spreads"]
    outcome.prompt_tokens_per_s = shortest["prompt_tokens_per_s"]["median"]
    outcome.generation_tokens_per_s = shortest["generation_tokens_per_s"]["median"]
    outcome.first_token_ms = shortest["first_token_ms"]["median"]
    outcome.peak_ram_mib = peak.resident_mib or None
    outcome.peak_vram_mib = peak.vram_mib
    return outcome


class _Rounds:
    """All requests of a plan, in their order."""

    def __init__(
        self, target: Target, plan: Plan, contexts: Sequence[int], stop: Stop, tell: Tell
    ) -> None:
        self._target, self._plan, self._stop, self._tell = target, plan, stop, tell
        self._prompts = {
            context: measuring.prompt_of(target, context, stop=stop) for context in contexts
        }
        self._contexts = contexts
        self._done = 0
        each_round = sum(contexts) + sum(plan.clients) * contexts[0]
        answers = len(contexts) + sum(plan.clients)
        # A token that is generated takes about as long as ten that are read.
        self._all = plan.repeats * (each_round + answers * plan.tokens * 10)
        self._deadline = time.monotonic() + plan.max_seconds
        self.notes: list[str] = []

    def first_answer(self) -> Sample:
        """Return the first answer after the load; then let the longest prompt have been."""
        self._tell(0.02, "warms up")
        first = self._ask(self._contexts[0], self._plan.tokens)
        self._ask(max(self._contexts), 1)
        return first

    def depths(self) -> dict[int, list[Sample]]:
        found: dict[int, list[Sample]] = defaultdict(list)
        for _ in self._rounds("prompts of several lengths"):
            for context in self._contexts:
                found[context].append(self._ask(context, self._plan.tokens))
                self._advance(context, 1, f"a prompt of {context} tokens")
        return found

    def together(self) -> dict[int, list[Together]]:
        found: dict[int, list[Together]] = defaultdict(list)
        context = self._contexts[0]
        for _ in self._rounds("clients at once"):
            for clients in self._plan.clients:
                answers = measuring.measure_together(
                    self._target, clients, context, self._plan.tokens, stop=self._stop
                )
                found[clients].append(answers)
                self._advance(context, clients, f"{clients} at once")
        return found

    def _rounds(self, of: str) -> Iterator[int]:
        for number in range(self._plan.repeats):
            if number and time.monotonic() > self._deadline:
                self.notes.append(
                    f"Its {self._plan.max_seconds} s were over after {number} of "
                    f"{self._plan.repeats} rounds of {of}."
                )
                return
            yield number

    def _ask(self, context: int, tokens: int) -> Sample:
        sample = measuring.measure(
            self._target, self._prompts[context], tokens, stop=self._stop
        )
        if sample.prompt_tokens != context:
            msg = (
                f"llama-server read {sample.prompt_tokens} tokens of a prompt of {context}: "
                "it kept the rest, so nothing was measured. Take cache flags out of extra_args."
            )
            raise BenchmarkError(msg)
        return sample

    def _advance(self, context: int, answers: int, note: str) -> None:
        self._done += answers * (context + self._plan.tokens * 10)
        self._tell(0.05 + 0.9 * self._done / self._all, note)


def _of_samples(measured: str, samples: Sequence[Sample], context: int) -> dict[str, Any]:
    values = {
        name: [getattr(sample, name) for sample in samples]
        for name in ("prompt_tokens_per_s", "generation_tokens_per_s", "first_token_ms")
    }
    return _entry(
        measured,
        values,
        context=context,
        clients=1,
        samples=[sample.as_json() for sample in samples],
    )


def _of_clients(found: Sequence[Together], context: int, clients: int) -> dict[str, Any]:
    answers = [sample for together in found for sample in together.samples]
    values = {
        "latency_ms": [sample.total_ms for sample in answers],
        "first_token_ms": [sample.first_token_ms for sample in answers],
        "total_tokens_per_s": [together.tokens_per_s for together in found],
    }
    samples = [[sample.as_json() for sample in together.samples] for together in found]
    return _entry(TOGETHER, values, context=context, clients=clients, samples=samples)


def _entry(measured: str, values: dict[str, list[float]], **more: Any) -> dict[str, Any]:
    """Return an entry of `Benchmark.figures`: every sample, and how they spread."""
    return {
        "measured": measured,
        **more,
        "values": {name: [round(each, 3) for each in found] for name, found in values.items()},
        "spreads": {name: spread(found).as_json() for name, found in values.items() if found},
    }


@contextmanager
def _watched(target: Target) -> Iterator[Peak]:
    """Look at what `target` takes for as long as it is measured."""
    peak, is_over = Peak(), threading.Event()

    def look() -> None:
        looks = 0
        while True:
            usage = target.usage()
            peak.resident_mib = max(peak.resident_mib, usage.resident_mib)
            peak.vram_mib = max(peak.vram_mib, usage.vram_mib)
            if looks % PSS_EVERY == 0:
                peak.proportional_mib = max(peak.proportional_mib, _pss_mib(target))
            looks += 1
            if is_over.wait(LOOK_S):
                return

    watcher = threading.Thread(target=look, name="bench-memory", daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        is_over.set()
        watcher.join()


def _pss_mib(target: Target) -> int:
    try:
        info = psutil.Process(target.process.pid).memory_full_info()
    except (psutil.Error, OSError):
        return 0
    return int(getattr(info, "pss", 0)) // MIB
