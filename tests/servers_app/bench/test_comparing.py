"""What was measured is read and compared; nothing is measured here."""

from datetime import timedelta

import pytest

from models_app.audit_models import Action, AuditEntry
from profiles_app.models import ProfileVersion, TierRule
from servers_app.bench.applying import apply_expected_time, challenges, expected_seconds
from servers_app.bench.comparing import compare
from servers_app.bench.results import get_benchmark, history, latest_by_model
from servers_app.benchmark_models import BenchmarkKind, BenchmarkState
from servers_app.errors import (
    BenchmarkInvalidError,
    BenchmarkNotFinishedError,
    BenchmarkNotFoundError,
)
from tests.conftest import MakeModel, MakeProfile
from tests.servers_app.bench.conftest import RATES, MakeBenchmark

pytestmark = pytest.mark.django_db

FASTER = [rate * 1.12 for rate in RATES]


def test_a_difference_beyond_the_spread_is_told_in_words(make_benchmark: MakeBenchmark) -> None:
    found = compare(make_benchmark(), make_benchmark(rates=FASTER))

    assert not found.is_noise
    assert found.verdict == (
        "The second generates 12.0 % faster, more than the spread of both."
    )


def test_the_same_again_is_no_more_than_noise(make_benchmark: MakeBenchmark) -> None:
    found = compare(make_benchmark(), make_benchmark(rates=[rate + 0.1 for rate in RATES]))

    assert found.is_noise
    assert found.verdict == "No difference that is more than noise."
    assert found.lines[0].sentence == "no more than noise (+0.5 %)"


def test_single_samples_are_not_believed(make_benchmark: MakeBenchmark) -> None:
    found = compare(make_benchmark(rates=[10.0]), make_benchmark(rates=[30.0]))

    assert found.is_noise
    assert "more repeats" in found.verdict


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"machine": "another"}, "different machines", id="machine"),
        pytest.param({"node": "elsewhere"}, "different machines", id="node"),
        pytest.param({"model_id": "gemma"}, "two models", id="model"),
        pytest.param({"build": "0.7.0"}, "builds differ: 0.6.0, 0.7.0", id="build"),
        pytest.param({"settings": {"threads": 4}}, "settings differ in threads", id="settings"),
        pytest.param({"plan": {"tokens": 8, "target": "own"}}, "equally long", id="tokens"),
        pytest.param({"plan": {"tokens": 64, "target": "running"}}, "others use", id="target"),
    ],
)
def test_what_else_differs_is_said_before_the_verdict(
    make_benchmark: MakeBenchmark, fields: dict[str, object], expected: str
) -> None:
    found = compare(make_benchmark(), make_benchmark(rates=FASTER, **fields))

    assert [expected in caveat for caveat in found.caveats] == [True]
    assert found.verdict.startswith(found.caveats[0])


def test_only_finished_ones_with_figures_in_common_are_compared(
    make_benchmark: MakeBenchmark,
) -> None:
    done, empty = make_benchmark(), make_benchmark(rates=[], figures=[])
    running = make_benchmark(state=BenchmarkState.RUNNING)

    with pytest.raises(BenchmarkInvalidError, match="no figure in common"):
        compare(done, empty)
    with pytest.raises(BenchmarkNotFinishedError, match="is running; only finished"):
        compare(done, running)


def test_the_latest_of_each_model_is_the_newest_that_finished(
    make_benchmark: MakeBenchmark,
) -> None:
    make_benchmark("a", ago=timedelta(days=2))
    newest = make_benchmark("a", ago=timedelta(days=1))
    make_benchmark("a", state=BenchmarkState.FAILED)
    make_benchmark("a", kind=BenchmarkKind.TUNE)
    other = make_benchmark("b", node="elsewhere")

    assert latest_by_model() == {"a": newest, "b": other}
    assert latest_by_model("local") == {"a": newest}
    assert [each.model_id for each in history("a")] == ["a", "a"]


@pytest.mark.parametrize("number", [404, 2**70])
def test_a_benchmark_that_is_not_there_is_said_so(number: int) -> None:
    with pytest.raises(BenchmarkNotFoundError, match=f"not found: {number}"):
        get_benchmark(number)


def test_an_answer_takes_its_first_token_and_two_hundred_more(
    make_benchmark: MakeBenchmark,
) -> None:
    assert expected_seconds(make_benchmark()) == 11.0  # 1 s, and 200 at 20 a second
    assert expected_seconds(make_benchmark(figures=[])) is None


def test_an_expected_time_is_applied_to_the_tier_of_the_active_profile(
    make_benchmark: MakeBenchmark, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    benchmark, model = make_benchmark(), make_model()
    profile = make_profile("work", model.model_id, is_active=True)
    TierRule.objects.create(profile=profile, name="fast", expected_time_seconds=2)

    done = apply_expected_time(benchmark, who="ada")

    assert (done.profile, done.tier, done.before, done.after) == ("work", "fast", 2.0, 11.0)
    rule = TierRule.objects.get(profile=profile, name="fast")
    assert rule.expected_time_seconds == 11.0
    assert ProfileVersion.objects.get(slug="work").author == "ada"
    entry = AuditEntry.objects.get(action=Action.UPDATE, target_kind="benchmark")
    assert (entry.before, entry.after) == (
        {"expected_time_seconds": 2.0},
        {"expected_time_seconds": 11.0},
    )


def test_what_says_nothing_of_a_tier_is_not_applied(
    make_benchmark: MakeBenchmark, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_profile("work", is_active=True)
    with pytest.raises(BenchmarkInvalidError, match="not registered any more"):
        apply_expected_time(make_benchmark())
    make_model()
    with pytest.raises(BenchmarkInvalidError, match="no rule for the tier fast"):
        apply_expected_time(make_benchmark())
    with pytest.raises(BenchmarkInvalidError, match="is running"):
        apply_expected_time(make_benchmark(state=BenchmarkState.RUNNING))


def test_a_model_that_is_slower_than_one_of_a_slower_tier_is_challenged(
    make_benchmark: MakeBenchmark, make_model: MakeModel
) -> None:
    make_model("quick", assigned_tier="fast")
    make_model("middling", assigned_tier="balanced")
    make_model("near", assigned_tier="balanced")
    slow = make_benchmark("quick", rates=[10.0] * 5)
    make_benchmark("middling", rates=[30.0] * 5)
    make_benchmark("near", rates=[10.2] * 5)

    (sentence,) = challenges(slow)

    assert sentence == (
        "quick is fast by its tier, and generates 10.0 tokens/s here: slower than middling "
        "(balanced, 30.0). See whether its tier is right."
    )
    (other,) = challenges(latest_by_model()["middling"])
    assert "faster than quick (fast, 10.0)" in other
    assert challenges(latest_by_model()["near"]) == []
