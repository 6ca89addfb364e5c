from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.utils import timezone
from pytest_django import Settings

from models_app.models import DiscoveredModel
from servers_app.benchmark_models import Benchmark, BenchmarkState
from tests.conftest import MakeModel

SetMode = Callable[[str], None]
MakeBenchmark = Callable[..., Benchmark]
PATIENCE_S = 30

RATES = [20.0, 20.2, 19.8, 20.1, 19.9]


@pytest.fixture
def smol(make_model: MakeModel, smollm2: Path) -> DiscoveredModel:
    """SmolLM2 as it is registered, with a small context."""
    return make_model(
        "smollm2_0p135b_q41_fast",
        file_path=str(smollm2),
        blob_path=str(smollm2),
        size_bytes=smollm2.stat().st_size,
        context_length=1024,
        size_params=0.135,
    )


@pytest.fixture
def engine(node: Path, settings: Settings) -> Path:
    """The engine that every machine has, and a node of the test's own."""
    settings.LLAMA_SERVER_PATH = "embedded"
    return node


@pytest.fixture
def small(make_model: MakeModel, tmp_path: Path) -> DiscoveredModel:
    """A model that a stand-in serves: its file has nothing in it."""
    file = tmp_path / "small.gguf"
    file.write_bytes(b"GGUF")
    return make_model(
        "small", file_path=str(file), blob_path=str(file), size_bytes=4, context_length=2048
    )


def figures(rates: list[float], *, name: str = "generation_tokens_per_s") -> dict[str, Any]:
    """Return an entry of a benchmark's figures."""
    return {
        "measured": "depth",
        "context": 512,
        "clients": 1,
        "values": {name: rates, "first_token_ms": [1000.0 for _ in rates]},
    }


@pytest.fixture
def make_benchmark(db: None) -> MakeBenchmark:
    """Return a function that saves a benchmark that has finished."""

    def make(
        model_id: str = "qwen3_4p0b_q4km_fast",
        *,
        rates: list[float] | None = None,
        **fields: Any,
    ) -> Benchmark:
        found = RATES if rates is None else rates
        ago = fields.pop("ago", timedelta())
        values: dict[str, Any] = {
            "node": "local",
            "state": BenchmarkState.FINISHED,
            "machine": "a processor, 8 cores, 32 GiB",
            "build": "0.6.0",
            "figures": [figures(found)],
            "generation_tokens_per_s": found[0] if found else None,
            "plan": {"tokens": 64, "target": "own"},
            **fields,
        }
        benchmark = Benchmark.objects.create(model_id=model_id, **values)
        Benchmark.objects.filter(pk=benchmark.pk).update(asked_at=timezone.now() - ago)
        return benchmark

    return make


def processes_of(folder: Path) -> list[list[str]]:
    """Return the command lines that name a folder of the test."""
    return [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline", "status"])
        if str(folder) in " ".join(process.info["cmdline"] or [])
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]
