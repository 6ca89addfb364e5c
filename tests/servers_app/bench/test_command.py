"""`manage.py bench`."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from models_app.models import DiscoveredModel
from profiles_app.models import TierRule
from servers_app.benchmark_models import Benchmark, BenchmarkState
from tests.conftest import MakeModel, MakeProfile
from tests.servers_app.bench.conftest import RATES, MakeBenchmark, SetMode, processes_of

pytestmark = pytest.mark.django_db(transaction=True)


def bench(*arguments: str) -> Any:
    out = StringIO()
    call_command("bench", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


def test_a_model_is_measured_here_and_now(
    node: Path, stand_in: SetMode, small: DiscoveredModel
) -> None:
    stand_in("serve")

    arguments = ("--contexts", "8,16", "--clients", "1", "--repeats", "2", "--tokens", "2")
    found = bench("small", *arguments)

    assert (found["state"], found["generation_tokens_per_s"]) == ("finished", 100.0)
    assert found["plan"] == {
        "contexts": [8, 16],
        "clients": [1],
        "repeats": 2,
        "tokens": 2,
        "target": "own",
        "max_seconds": 1800,
    }
    assert Benchmark.objects.get().pk == found["id"]
    assert processes_of(node) == []


def test_why_it_could_not_be_measured_is_what_the_command_ends_with(
    node: Path, stand_in: SetMode, small: DiscoveredModel
) -> None:
    stand_in("die")

    with pytest.raises(CommandError, match="--stand-in"):
        call_command("bench", "small", "--quick")

    assert Benchmark.objects.get().state == BenchmarkState.FAILED


def test_a_benchmark_is_shown_with_its_spread(
    make_benchmark: MakeBenchmark, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    make_model()
    benchmark = make_benchmark(peak_ram_mib=512)

    call_command("bench", "--show", str(benchmark.pk))

    shown = capsys.readouterr().out
    assert "generation, tokens/s" in shown
    assert "Memory at its peak: 512 MiB" in shown
    assert f"manage.py bench --apply {benchmark.pk}" in shown


def test_what_was_measured_is_listed(
    make_benchmark: MakeBenchmark, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("bench", "--list")
    assert "Nothing was measured yet" in capsys.readouterr().out
    make_model("a")
    make_benchmark("a")
    make_benchmark("b")

    assert [each["model_id"] for each in bench("--list")] == ["b", "a"]
    assert [each["model_id"] for each in bench("a", "--list")] == ["a"]
    assert [each["model_id"] for each in bench("b", "--list")] == ["b"], "it has been forgotten"
    with pytest.raises(CommandError, match="Available: a"):
        bench("c", "--list")
    call_command("bench", "--list")
    assert "20.0" in capsys.readouterr().out


def test_two_are_compared_in_words(
    make_benchmark: MakeBenchmark, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = make_benchmark(), make_benchmark(rates=[rate * 1.12 for rate in RATES])

    call_command("bench", "--compare", str(a.pk), str(b.pk))

    assert "12.0 % faster, more than the spread of both" in capsys.readouterr().out
    assert bench("--compare", str(a.pk), str(a.pk))["is_noise"] is True


def test_a_measured_time_is_applied(
    make_benchmark: MakeBenchmark, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model()
    profile = make_profile("work", is_active=True)
    TierRule.objects.create(profile=profile, name="fast", expected_time_seconds=2)

    done = bench("--apply", str(make_benchmark().pk))

    assert done == {"profile": "work", "tier": "fast", "before": 2.0, "after": 11.0}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param([], "Give the id of a model", id="nothing"),
        pytest.param(["qwen9"], "Model not found: qwen9", id="no such model"),
        pytest.param(["--show", "9"], "Benchmark not found: 9", id="no such benchmark"),
        pytest.param(
            ["--compare", "8", "9"], "Benchmark not found: 8", id="nothing to compare"
        ),
        pytest.param(["m", "--repeats", "0"], "repeats=0: give a whole", id="no rounds"),
        pytest.param(["m", "--contexts", "a,b"], "give whole numbers", id="no numbers"),
        pytest.param(["m", "--running"], "no server that is ready", id="none runs"),
    ],
)
def test_what_cannot_be_done_is_said(
    node: Path, make_model: MakeModel, arguments: list[str], expected: str
) -> None:
    make_model("m")

    with pytest.raises(CommandError, match=expected):
        call_command("bench", *arguments)
