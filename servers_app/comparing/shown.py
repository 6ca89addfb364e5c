"""What a comparison looks like to one person: blind, until they have voted.

Before that, an answer has its text and no more: neither its model, nor its speed, nor what
the model thought, which would tell. Where only one of two answers is there, it would tell by
that, so nothing is shown while the other may still come.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypedDict

from django.db.models import Count

from models_app.task_kinds import TaskKind
from servers_app.benchmark_models import BENCHMARK_UNDER_WAY
from servers_app.comparing.progress import Progress, progress_of_all
from servers_app.comparing.tally import Result, Tally, result_of, sentence
from servers_app.comparing.votes import is_open, results_of, side_of
from servers_app.comparison_models import ComparedPrompt, Comparison, Vote

_BLIND: Final = ("text", "error")  # of an answer, before one's vote


class ShownPrompt(TypedDict):
    position: int
    task: str
    prompt: str
    left: dict[str, Any] | None
    right: dict[str, Any] | None
    left_model: str | None
    right_model: str | None
    can_vote: bool
    vote: str | None
    votes: int


class ShownResult(TypedDict):
    task: str
    wins: int
    losses: int
    ties: int
    share: float | None
    share_low: float | None
    share_high: float | None
    p: float | None
    better: str | None
    sentence: str


def outline_of(comparison: Comparison) -> dict[str, Any]:
    return outlines_of([comparison])[0]


def outlines_of(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return comparisons without their prompts, as JSON has them, by one query."""
    progress = progress_of_all([row.pk for row in comparisons])
    return [_outline(row, progress[row.pk]) for row in comparisons]


def _outline(comparison: Comparison, progress: Progress) -> dict[str, Any]:
    return {
        "id": comparison.pk,
        "name": comparison.name,
        "model_a": comparison.model_a,
        "model_b": comparison.model_b,
        "settings": comparison.settings,
        "state": comparison.state,
        "error": comparison.error,
        "asked_by": comparison.asked_by,
        "asked_at": comparison.asked_at,
        "finished_at": comparison.finished_at,
        "answered": progress.answered,
        "failed": progress.failed,
        "total": progress.total,
        "percent": progress.percent,
    }


def detail_of(comparison: Comparison, *, who: str) -> dict[str, Any]:
    """Return a comparison with its prompts, as `who` may see them, and its results."""
    return {
        **outline_of(comparison),
        "speeds": speeds_of(comparison),
        "results": results_shown(comparison),
        "prompts": prompts_shown(comparison, who=who),
    }


def prompts_shown(comparison: Comparison, *, who: str) -> list[ShownPrompt]:
    """Return all prompts of a comparison, by two queries."""
    rows = comparison.prompts.annotate(vote_count=Count("votes")).order_by("position")
    own = dict(
        Vote.objects.filter(prompt__comparison=comparison, who=who).values_list(
            "prompt_id", "choice"
        )
    )
    return [_shown(row, comparison, own.get(row.pk), row.vote_count) for row in rows]


def prompt_shown(row: ComparedPrompt, *, who: str) -> ShownPrompt:
    own = row.votes.filter(who=who).values_list("choice", flat=True).first()
    return _shown(row, row.comparison, own, row.votes.count())


def results_shown(comparison: Comparison) -> list[ShownResult]:
    """Return what the votes came to: in all first, then by task if there are several."""
    results = results_of(comparison)
    tasks = [task for task in results if task]
    shown = [""] if len(tasks) < 2 else ["", *tasks]
    return [_result(task, results[task], comparison) for task in shown]


def speeds_of(comparison: Comparison) -> dict[str, float | None] | None:
    """Return the mean tokens per second of each model; None while answers may yet come."""
    if comparison.state in BENCHMARK_UNDER_WAY:
        return None
    columns = comparison.prompts.values_list("answer_a", "answer_b")
    answers_a, answers_b = zip(*columns, strict=True) if columns else ((), ())
    return {
        comparison.model_a: _mean_speed(answers_a),
        comparison.model_b: _mean_speed(answers_b),
    }


def task_label(task: str) -> str:
    return str(TaskKind(task).label) if task in TaskKind.values else "All"


def _shown(
    row: ComparedPrompt, comparison: Comparison, own: str | None, votes: int
) -> ShownPrompt:
    models = (comparison.model_a, comparison.model_b)
    answers = (row.answer_a, row.answer_b)
    if row.is_swapped:
        models, answers = models[::-1], answers[::-1]
    is_over = comparison.state not in BENCHMARK_UNDER_WAY
    can_vote = is_open(row)
    # What nobody can vote on need not be blind: one of the two failed, or never came.
    is_revealed = own is not None or (not can_vote and (is_over or None not in answers))
    is_seen = is_revealed or can_vote
    left, right = (_answer(each, is_seen, is_revealed) for each in answers)
    return {
        "position": row.position,
        "task": row.task,
        "prompt": row.prompt,
        "left": left,
        "right": right,
        "left_model": models[0] if is_revealed else None,
        "right_model": models[1] if is_revealed else None,
        "can_vote": can_vote,
        "vote": None if own is None else side_of(own, row),
        "votes": votes,
    }


def _answer(
    answer: Mapping[str, Any] | None,
    is_seen: bool,  # noqa: FBT001 - of a pair
    is_revealed: bool,  # noqa: FBT001
) -> dict[str, Any] | None:
    if answer is None or not is_seen:
        return None
    return {key: value for key, value in answer.items() if is_revealed or key in _BLIND}


def _result(task: str, tally: Tally, comparison: Comparison) -> ShownResult:
    result: Result = result_of(tally)
    better = {"a": comparison.model_a, "b": comparison.model_b}.get(result.standing)
    low, high = result.interval or (None, None)
    return {
        "task": task,
        "wins": tally.wins,
        "losses": tally.losses,
        "ties": tally.ties,
        "share": _rounded(result.share),
        "share_low": _rounded(low),
        "share_high": _rounded(high),
        "p": _rounded(result.p),
        "better": better,
        "sentence": sentence(result, comparison.model_a, comparison.model_b),
    }


def _mean_speed(answers: Iterable[Mapping[str, Any] | None]) -> float | None:
    rates = [rate for answer in answers if answer and (rate := answer.get("tokens_per_s"))]
    return round(sum(rates) / len(rates), 2) if rates else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
