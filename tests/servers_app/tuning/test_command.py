"""`manage.py tune`, and the page of a search: what is shown, applied and refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse

from profiles_app.models import ModelRunSettings
from servers_app.benchmark_models import Benchmark, BenchmarkKind, BenchmarkState
from servers_app.tuning.goals import Goal, Speed
from servers_app.tuning.outcome import gain_json, is_better, speed_json, trial_json
from servers_app.tuning.search import Trial
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db

Say = Callable[..., str]
SLOW = Speed((100.0, 101.0, 99.0, 100.5), (20.0, 20.1, 19.9, 20.2))
FAST = Speed((101.0, 100.0, 99.5, 100.0), (24.0, 24.1, 23.9, 24.2))


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Say:
    """Return a function that runs the command and returns what it printed."""
    module = "servers_app.management.commands.tune"
    monkeypatch.setattr(f"{module}.require_worker", lambda _node: None)
    monkeypatch.setattr("servers_app.tuning.service.enqueue", lambda *_a, **_o: None)

    def run(*arguments: str) -> str:
        capsys.readouterr()
        call_command("tune", *arguments)
        return capsys.readouterr().out

    return run


def search(**fields: Any) -> Benchmark:
    """Save a search that found 20 % of generation, after a trial that failed."""
    changes = {"threads": 7}
    found = Trial("threads", changes, FAST, 1.1, is_kept=True)
    failed = Trial("flash_attn", {"flash_attn": "on"}, None, None, is_kept=False, error="No.")
    outcome = {
        "goal": "generation",
        "baseline": speed_json(SLOW),
        "trials": [trial_json(1, found, 3.2), trial_json(2, failed, 0.1)],
        "found": changes,
        "settings": changes,
        "gain": gain_json(SLOW, FAST),
        "drift": gain_json(SLOW, SLOW),
    }
    values = {
        "kind": BenchmarkKind.TUNE,
        "model_id": "m",
        "node": "local",
        "state": BenchmarkState.FINISHED,
        "plan": {"minutes": 10, "goal": "generation"},
        "outcome": outcome,
        **fields,
    }
    return Benchmark.objects.create(**values)


def test_a_gain_is_told_with_its_spread_and_that_it_is_more_than_noise(said: Say) -> None:
    number = str(search().pk)

    shown = said("--show", number)

    assert "threads 7: -0 % prompt, no more than noise; +20 % generation, more than noise" in (
        shown
    )
    assert "(2 tried, 1 of them failed)" in shown
    assert "No." in shown
    assert f"manage.py tune --apply {number}" in shown


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        (0, "the time is too short for it. Give"),
        (2, "then the time was over"),
    ],
)
def test_a_search_without_the_time_for_all_says_so(
    said: Say, trials: int, expected: str
) -> None:
    row = search()
    del row.outcome["trials"][trials:]
    row.outcome |= {"is_cut": True, "settings": {}, "found": {}, "gain": None}
    row.save()

    assert expected in said("--show", str(row.pk))


def test_a_speed_is_the_middle_of_what_was_measured(said: Say) -> None:
    row = search()
    row.outcome["baseline"]["generation"] = [56.0, 45.5, 68.3, 66.0]
    row.save()

    shown = said("--show", str(row.pk))

    assert "61.0 (45.5 to 68.3)" in shown


def test_what_was_found_is_applied_by_its_number_and_by_nothing_else(
    said: Say, make_model: MakeModel
) -> None:
    make_model("m")
    number = str(search().pk)
    said("--show", number)
    assert not ModelRunSettings.objects.exists()

    assert "restart it" in said("--apply", number)

    assert ModelRunSettings.objects.get(model_id="m").run_settings == {"threads": 7}


def test_machines_get_all_of_it(said: Say, make_model: MakeModel) -> None:
    make_model("m")
    number = str(search().pk)

    shown = json.loads(said("--show", number, "--json"))
    asked = json.loads(said("m", "--no-wait", "--json", "--goal", "prompt", "--minutes", "3"))
    applied = json.loads(said("--apply", number, "--json"))

    assert shown["outcome"]["gain"]["generation"]["direction"] == "better"
    assert (asked["state"], asked["plan"]["goal"], asked["plan"]["minutes"]) == (
        "queued",
        "prompt",
        3,
    )
    assert "T" in asked["asked_at"]  # ISO 8601, as in the API
    assert applied == {"settings": {"threads": 7}, "overruled": {}}
    assert len(json.loads(said("--list", "--json"))) == 2


def test_a_search_that_waits_is_stopped(said: Say, make_model: MakeModel) -> None:
    make_model("m")
    said("m", "--no-wait")
    number = str(Benchmark.objects.get().pk)

    said("--cancel", number)

    assert Benchmark.objects.get().state == BenchmarkState.CANCELLED


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        pytest.param([], "Give the id of a model", id="nothing"),
        pytest.param(["eve"], "Model not found: eve", id="an unknown model"),
        pytest.param(["--show", "99"], "99", id="no such search"),
        pytest.param(["m", "--minutes", "0"], "minutes: give a number", id="no time"),
    ],
)
def test_what_cannot_be_done_is_said(
    said: Say, make_model: MakeModel, arguments: list[str], why: str
) -> None:
    make_model("m")

    with pytest.raises(CommandError, match=why):
        said(*arguments)


def test_a_benchmark_is_no_search(said: Say) -> None:
    number = str(search(kind=BenchmarkKind.MEASURE).pk)

    with pytest.raises(CommandError, match="is no search"):
        said("--show", number)


def test_a_search_that_failed_ends_with_its_reason(said: Say) -> None:
    number = str(search(state=BenchmarkState.FAILED, error="It was lost.", outcome={}).pk)

    with pytest.raises(CommandError, match="It was lost"):
        said("--show", number)


def test_the_list_says_what_each_came_to(said: Say) -> None:
    assert "Nothing was searched yet" in said("--list")
    search()

    assert "more than noise" in said("--list")


@pytest.mark.parametrize(
    ("before", "after", "goal", "expected"),
    [
        pytest.param(SLOW, FAST, Goal.GENERATION, True, id="the goal is reached"),
        pytest.param(SLOW, FAST, Goal.BOTH, True, id="one of both"),
        pytest.param(SLOW, FAST, Goal.PROMPT, False, id="another than the goal"),
        pytest.param(FAST, SLOW, Goal.BOTH, False, id="slower"),
        pytest.param(SLOW, SLOW, Goal.BOTH, False, id="the same"),
    ],
)
def test_only_a_gain_beyond_noise_is_recommended(
    before: Speed, after: Speed, goal: Goal, expected: bool
) -> None:
    assert is_better(gain_json(before, after), goal) is expected


def test_the_page_shows_the_gain_and_each_trial() -> None:
    page = render_to_string("admin/servers_app/benchmark/tuning.html", {"benchmark": search()})

    assert "+20.0 %" in page
    assert "better, more than noise" in page
    assert '<span class="magi-badge magi-failed">failed</span> No.' in page
    assert '<span class="magi-badge magi-ready">kept</span>' in page


def test_the_page_of_a_search_under_way_says_what_is_measured_first() -> None:
    running = search(state=BenchmarkState.RUNNING, outcome={})

    page = render_to_string("admin/servers_app/benchmark/tuning.html", {"benchmark": running})

    assert "is measured first" in page


def test_a_machine_that_changed_meanwhile_is_told() -> None:
    outcome = {**search().outcome, "drift": gain_json(SLOW, FAST)}
    drifted = search(outcome=outcome)

    page = render_to_string("admin/servers_app/benchmark/tuning.html", {"benchmark": drifted})

    assert "The machine itself changed meanwhile (generation +20 %" in page


def test_the_benchmarks_page_of_a_search_has_its_trials(admin_client: Client) -> None:
    number = search().pk

    page = admin_client.get(reverse("admin:servers_app_benchmark_change", args=[number]))

    assert "Search for faster settings" in page.content.decode()
