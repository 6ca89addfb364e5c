"""Benchmarks with the real engine and SmolLM2. No test asserts how fast anything is."""

import itertools
from pathlib import Path

import psutil
import pytest

from models_app.models import DiscoveredModel
from servers_app.bench import comparing, worker
from servers_app.bench.plan import plan_of
from servers_app.bench.results import figures_of, latest_by_model
from servers_app.benchmark_models import Benchmark, BenchmarkState
from servers_app.models import Server

pytestmark = pytest.mark.django_db(transaction=True)

SMALL = {"contexts": [16, 64, 5000], "clients": [1, 2], "repeats": 3, "tokens": 8}


def test_a_model_that_is_measured_twice_can_be_compared(
    engine: Path, smol: DiscoveredModel
) -> None:
    first, second = (worker.measure_here(smol, plan_of(SMALL)) for _ in range(2))

    assert (first.state, first.error) == (BenchmarkState.FINISHED, "")
    assert (second.state, second.error) == (BenchmarkState.FINISHED, "")
    assert latest_by_model() == {smol.model_id: second}
    for benchmark in (first, second):
        _agrees_with_timings(benchmark)
        assert benchmark.load_seconds
        assert benchmark.peak_ram_mib
        assert benchmark.machine
        assert benchmark.build
        assert benchmark.settings["ctx_size"] == 1024
        assert "5000" in benchmark.note
    comparison = comparing.compare(first, second)
    assert comparison.caveats == ()
    assert {line.figure.key for line in comparison.lines} == {
        figure.key for figure in figures_of(first) if figure.measured != "first answer"
    }
    assert not Server.objects.exists()
    _nothing_runs_of(engine)


def _agrees_with_timings(benchmark: Benchmark) -> None:
    """Rates are what llama.cpp's own counts and times come to, and our clock contains them."""
    depths = [entry for entry in benchmark.figures if entry["measured"] == "depth"]
    together = [entry for entry in benchmark.figures if entry["measured"] == "clients"]
    assert [entry["context"] for entry in depths] == [16, 64]
    assert [entry["clients"] for entry in together] == [1, 2]
    answers = [(entry["context"], sample) for entry in depths for sample in entry["samples"]]
    answers += [
        (entry["context"], sample)
        for entry in together
        for sample in itertools.chain(*entry["samples"])
    ]
    assert len(answers) == 3 * (2 + 1 + 2)
    for context, sample in answers:
        assert (sample["prompt_tokens"], sample["generated_tokens"]) == (context, 8)
        of_prompt = 1000 * sample["prompt_tokens"] / sample["prompt_ms"]
        assert sample["prompt_tokens_per_s"] == pytest.approx(of_prompt, rel=0.01)
        of_answer = 1000 * sample["generated_tokens"] / sample["generation_ms"]
        # Builds differ in whether the first token, which the prompt gives, counts.
        assert sample["generation_tokens_per_s"] == pytest.approx(of_answer, rel=0.15)
        assert sample["first_token_ms"] >= 0.99 * sample["prompt_ms"]
        assert sample["total_ms"] >= 0.99 * (sample["prompt_ms"] + sample["generation_ms"])


def _nothing_runs_of(folder: Path) -> None:
    left = [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if str(folder) in " ".join(process.info["cmdline"] or [])
    ]
    assert left == []
