"""`manage.py select`: which model suits a task, to people and to machines."""

import json
from collections.abc import Callable

import pytest
from django.core.management import CommandError, call_command

from models_app.models import ModelKind
from tests.conftest import MakeModel, MakeProfile

pytestmark = pytest.mark.django_db

Say = Callable[..., str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Say:
    """Return a function that runs the command and returns what it printed."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        call_command("select", *arguments)
        return capsys.readouterr().out

    return run


def test_the_enabled_models_are_shown_the_best_first_and_why(
    said: Say, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model("plain")
    make_model("coder", is_coder=True)
    make_model("larger", is_coder=True, size_params=32.0)
    make_profile("mine", "plain", "coder", is_active=True)

    first, second = said("coding").splitlines()[1:3]

    assert first.split()[0] == "coder"
    assert "trained for code" in first
    assert second.split()[0] == "plain"
    assert said("coding", "--all").splitlines()[1].split()[0] == "larger"


def test_machines_get_scores_and_reasons(
    said: Say, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model("a")
    make_model("b", is_coder=True)
    make_profile("mine", "a", is_active=True)

    told = json.loads(said("coding", "--all", "--json"))

    assert told["task"] == "coding"
    assert [(each["model_id"], each["enabled"]) for each in told["models"]] == [
        ("b", False), ("a", True),
    ]  # fmt: skip
    assert told["models"][0]["score"] > told["models"][1]["score"]
    assert all(each["reasons"] for each in told["models"])


def test_a_task_that_there_is_not_is_refused(said: Say) -> None:
    with pytest.raises(CommandError, match="Available: general, coding"):
        said("cooking")


def test_where_no_enabled_model_can_do_it_one_that_could_is_named(
    said: Say, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model("text")
    make_model("eyes", kind=ModelKind.VISION, projector_path="/mmproj.gguf")
    make_profile("mine", "text", is_active=True)

    with pytest.raises(CommandError, match=r"projector.* by kind: 1 text\. eyes could"):
        said("vision")
    with pytest.raises(CommandError, match="No model can do the task 'embedding'"):
        said("embedding", "--all")
