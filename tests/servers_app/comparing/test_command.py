"""`manage.py compare`: asked for, shown side by side, voted on at the terminal."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from models_app.models import DiscoveredModel
from servers_app.comparison_models import Comparison, Vote
from tests.servers_app.comparing.conftest import Engine

pytestmark = pytest.mark.django_db(transaction=True)

Pair = tuple[DiscoveredModel, DiscoveredModel]
Say = Callable[..., str]


@pytest.fixture
def said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, pair: Pair
) -> Say:
    """Return a function that runs the command, with typed lines, and returns its output.

    A worker does at once what is queued.
    """
    module = "servers_app.management.commands.compare"
    monkeypatch.setattr(f"{module}.require_worker", lambda _node: None)
    monkeypatch.setattr(f"{module}.FOLLOW_S", 0.01)
    monkeypatch.setattr(
        "servers_app.comparing.service.enqueue", lambda task, number, **_options: task(number)
    )

    def run(*arguments: str, typed: str = "") -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        capsys.readouterr()
        call_command("compare", *arguments)
        return capsys.readouterr().out

    return run


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    path = tmp_path / "prompts.txt"
    path.write_text("Say hello.\nAdd 2 and 3.\nName a bird.\n", encoding="utf-8")
    return str(path)


def test_two_models_are_compared_and_shown_without_their_names(said: Say, prompts: str) -> None:
    shown = said("ada", "bob", "--prompts", prompts, "--max-tokens", "5")

    comparison = Comparison.objects.get()
    assert comparison.settings["max_tokens"] == 5
    assert "An answer to: Name a bird." in shown
    assert "Left: " not in shown
    assert f"compare --show {comparison.pk} --vote" in shown


def test_one_votes_and_is_told_whose_answers_they_were(said: Say, prompts: str) -> None:
    shown = said("ada", "bob", "--prompts", prompts, "--vote", typed="x\nl\ns\nr\n")

    assert shown.count("Left was ") == 2
    assert sorted(vote.prompt.position for vote in Vote.objects.all()) == [0, 2]
    again = said("--show", str(Comparison.objects.get().pk), "--vote", typed="q\n")
    assert again.count("Which is better?") == 1  # what is voted on is not asked again


def test_who_hangs_up_has_voted_on_nothing_more(said: Say, prompts: str) -> None:
    said("ada", "bob", "--prompts", prompts, "--vote", typed="t\n")

    assert [vote.choice for vote in Vote.objects.all()] == ["tie"]


def test_machines_get_json(said: Say) -> None:
    detail = json.loads(said("ada", "bob", "--task", "coding", "--json"))
    listed = json.loads(said("--list", "--json"))

    assert detail["state"] == "finished"
    assert {prompt["task"] for prompt in detail["prompts"]} == {"coding"}
    assert [each["id"] for each in listed] == [detail["id"]]
    assert "T" in listed[0]["asked_at"]  # ISO 8601, as in the API


def test_prompts_may_come_from_a_pipe(said: Say) -> None:
    said("ada", "bob", "--prompts", "-", typed='{"prompt": "a", "task": "creative"}\n')

    assert [row.task for row in Comparison.objects.get().prompts.all()] == ["creative"]


def test_what_was_compared_is_listed_and_stopped(said: Say, prompts: str) -> None:
    assert "Nothing was compared yet" in said("--list")
    said("ada", "bob", "--prompts", prompts, "--no-wait", "--name", "Which?")
    number = str(Comparison.objects.get().pk)

    assert "Which?" in said("--list")
    assert "is finished" in said("--cancel", number)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        pytest.param(["ada"], "ids of two models", id="one model"),
        pytest.param(["ada", "eve"], "Model not found: eve", id="an unknown one"),
        pytest.param(["ada", "ada"], "two different models", id="the same"),
        pytest.param(["ada", "bob", "--prompts", "/none"], "cannot be read", id="no file"),
        pytest.param(["ada", "bob", "--seed", "-1"], "settings.seed", id="a seed"),
        pytest.param(["--show", "99"], "Comparison not found: 99", id="no such one"),
        pytest.param(["--show", "1", "--vote", "--json"], "leave --json away", id="both"),
    ],
)
def test_what_cannot_be_done_is_said(said: Say, arguments: list[str], why: str) -> None:
    with pytest.raises(CommandError, match=why):
        said(*arguments)


def test_a_comparison_that_fails_ends_with_its_reason(
    said: Say, pair: Pair, engine: Engine, prompts: str
) -> None:
    pair[0].servers.update(state="stopped", port=None)

    with pytest.raises(CommandError, match="file"):
        said("ada", "bob", "--prompts", prompts)

    assert not engine.asked
