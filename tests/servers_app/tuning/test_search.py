"""The search apart from measuring: what it tries, follows, passes by and ends in."""

from collections.abc import Callable
from typing import Any

import pytest

from servers_app.tuning.goals import Goal, Speed, gain
from servers_app.tuning.knobs import Knob, Machine, knobs, thread_counts, turned
from servers_app.tuning.search import Search, Trial

MACHINE = Machine(cores=16, physical_cores=8, has_gpu=False, layers=32)
START: dict[str, Any] = {
    "threads": 8,
    "threads_batch": None,
    "batch_size": 512,
    "ubatch_size": 256,
    "flash_attn": "auto",
    "cache_type_k": None,
    "cache_type_v": None,
    "n_gpu_layers": 99,
}

Model = Callable[[dict[str, Any]], float]


def speed(prompt: float, generation: float) -> Speed:
    return Speed((prompt,), (generation,))


def searched(
    tells: Callable[[dict[str, Any]], Speed | str],
    *,
    goal: Goal = Goal.BOTH,
    machine: Machine = MACHINE,
    trials: int = 1000,
    start: dict[str, Any] = START,
    **options: bool,
) -> tuple[Search, list[Trial]]:
    """Search with a machine that is a function; return the search and its trials."""
    left = iter(range(trials))
    baseline = tells(dict(start))
    assert isinstance(baseline, Speed)
    search = Search(start, baseline, goal, tells, lambda: next(left, None) is not None)
    return search, list(search.run(knobs(start, machine, goal, **options)))


def test_the_fastest_of_each_knob_is_found_and_kept_together() -> None:
    def tells(settings: dict[str, Any]) -> Speed:
        generation = 20 - abs(settings["threads"] - 12)
        return speed(100 + settings["ubatch_size"] / 10, generation)

    search, trials = searched(tells)

    assert (search.best["threads"], search.best["ubatch_size"]) == (12, 1024)
    assert search.best["batch_size"] == 1024  # an ubatch is no larger
    assert search.best_gain == pytest.approx(gain(tells(search.best), tells(START), Goal.BOTH))
    assert [trial.changes for trial in trials if trial.is_kept][-1]["ubatch_size"] == 1024


def test_no_settings_are_measured_twice() -> None:
    asked: list[dict[str, Any]] = []

    def tells(settings: dict[str, Any]) -> Speed:
        asked.append(settings)
        return speed(100 + settings["ubatch_size"], 10 + settings["threads"])

    searched(tells)

    assert all(settings not in asked[:place] for place, settings in enumerate(asked))


def test_where_nothing_is_faster_it_ends_where_it_began() -> None:
    search, trials = searched(lambda _settings: speed(100, 10))

    assert search.best == START
    assert trials
    assert not any(trial.is_kept for trial in trials)


def test_a_little_faster_is_not_followed() -> None:
    def tells(settings: dict[str, Any]) -> Speed:
        return speed(100, 10.1 if settings["threads"] == 4 else 10)

    assert searched(tells)[0].best == START


def test_a_trial_that_fails_is_told_and_passed_by() -> None:
    def tells(settings: dict[str, Any]) -> Speed | str:
        if settings["flash_attn"] == "on":
            return "The server refused it."
        return speed(100, 20 if settings["threads"] == 4 else 10)

    search, trials = searched(tells)

    failed = [trial for trial in trials if trial.error]
    assert [trial.changes["flash_attn"] for trial in failed] == ["on"]
    assert failed[0].speed is None
    assert search.best["threads"] == 4


def test_it_ends_when_there_is_no_time_and_says_so() -> None:
    search, trials = searched(lambda _settings: speed(100, 10), trials=3)

    assert len(trials) == 3
    assert search.is_cut
    assert not searched(lambda _settings: speed(100, 10))[0].is_cut


def test_what_is_found_later_has_earlier_knobs_turned_again() -> None:
    def tells(settings: dict[str, Any]) -> Speed:
        """Fewer threads are faster only with flash attention."""
        if settings["flash_attn"] != "on":
            return speed(100, 10)
        return speed(100, 40 if settings["threads"] == 4 else 20)

    search, _ = searched(tells)

    assert (search.best["flash_attn"], search.best["threads"]) == ("on", 4)


def test_a_kv_type_that_costs_quality_is_tried_only_if_allowed() -> None:
    def kinds(trials: list[Trial]) -> set[Any]:
        return {trial.changes.get("cache_type_v") for trial in trials} - {None}

    def tells(_settings: dict[str, Any]) -> Speed:
        return speed(100, 10)

    assert kinds(searched(tells)[1]) == {"q8_0"}
    assert kinds(searched(tells, allow_lossy=True)[1]) == {"q8_0", "q5_1", "q4_0"}


def test_what_does_not_touch_the_goal_is_not_tried() -> None:
    names = [knob.name for knob in knobs(START, MACHINE, Goal.GENERATION)]

    assert names == ["threads", "flash_attn", "cache_type"]


def test_a_setting_that_the_build_has_no_flag_for_is_not_tried() -> None:
    known = {name: value for name, value in START.items() if name != "threads_batch"}

    assert "threads_batch" not in [knob.name for knob in knobs(known, MACHINE, Goal.BOTH)]


def test_layers_are_tried_where_there_are_gpus_only() -> None:
    gpu = Machine(cores=16, physical_cores=8, has_gpu=True, layers=32)

    assert knobs(START, gpu, Goal.BOTH)[0] == Knob(
        "n_gpu_layers",
        tuple({"n_gpu_layers": value} for value in ("all", "auto", 24, 16, 0)),
    )
    assert "n_gpu_layers" not in [knob.name for knob in knobs(START, MACHINE, Goal.BOTH)]


@pytest.mark.parametrize(
    ("cores", "physical", "counts"),
    [
        pytest.param(1, 1, [1], id="one core"),
        pytest.param(2, 2, [1], id="two cores"),
        pytest.param(4, 4, [3, 2], id="four cores"),
        pytest.param(64, 32, [63, 48, 32, 31, 16], id="a server"),
    ],
)
def test_one_core_is_left_to_everything_else(
    cores: int, physical: int, counts: list[int]
) -> None:
    assert thread_counts(Machine(cores, physical, has_gpu=False, layers=None)) == counts


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        pytest.param(
            {"ubatch_size": 1024}, {"ubatch_size": 1024, "batch_size": 1024}, id="both"
        ),
        pytest.param({"ubatch_size": 256}, None, id="as it is"),
        pytest.param({"batch_size": 128}, None, id="a batch below its ubatch"),
        pytest.param({"threads_batch": 8}, None, id="as many as threads"),
        pytest.param({"cache_type_k": "f16", "cache_type_v": "f16"}, None, id="the default"),
    ],
)
def test_a_step_takes_along_what_it_needs_or_is_none(
    step: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    after = turned(START, step)

    assert after == (None if expected is None else {**START, **expected})


def test_a_quantized_v_cache_is_not_tried_without_flash_attention() -> None:
    off = {**START, "flash_attn": "off"}
    quantized = {**START, "cache_type_v": "q8_0"}

    assert turned(off, {"cache_type_k": "q8_0", "cache_type_v": "q8_0"}) is None
    assert turned(quantized, {"flash_attn": "off"}) is None


def test_the_gain_of_both_is_their_geometric_mean() -> None:
    assert gain(speed(400, 10), speed(100, 10), Goal.BOTH) == pytest.approx(2)
    assert gain(speed(400, 10), speed(100, 10), Goal.PROMPT) == pytest.approx(4)
    assert gain(speed(400, 10), speed(100, 10), Goal.GENERATION) == pytest.approx(1)
