"""Votes: who found which of two answers better, blind, and what all of them come to."""

from collections import defaultdict
from typing import Final

from django.db import transaction
from django.db.models import Count

from models_app import audit
from models_app.audit_models import Action
from servers_app.comparing.tally import Tally
from servers_app.comparison_models import Choice, ComparedPrompt, Comparison, Vote
from servers_app.errors import ComparisonInvalidError

LEFT: Final = "left"
RIGHT: Final = "right"
SIDES: Final = (LEFT, RIGHT, str(Choice.TIE), str(Choice.NEITHER))  # what a vote may be
MAX_WHO_CHARS: Final = 150


def choice_of(side: str, prompt: ComparedPrompt) -> Choice:
    """Return which model a vote is for that names a side.

    Raises:
        ComparisonInvalidError: it names none.
    """
    if side not in SIDES:
        accepted = ", ".join(SIDES)
        msg = f"A vote is one of: {accepted}."
        raise ComparisonInvalidError(msg)
    if side not in (LEFT, RIGHT):
        return Choice(side)
    return Choice.B if (side == LEFT) == prompt.is_swapped else Choice.A


def side_of(choice: str, prompt: ComparedPrompt) -> str:
    """Return which side a vote was for, as the voter saw it."""
    if choice not in (Choice.A, Choice.B):
        return choice
    return RIGHT if (choice == Choice.A) == prompt.is_swapped else LEFT


@transaction.atomic
def cast(prompt: ComparedPrompt, side: str, *, who: str) -> Vote:
    """Keep what `who` thinks of the two answers; it takes the place of an earlier vote.

    Raises:
        ComparisonInvalidError: it is no vote, nobody votes, or there are not two answers.
    """
    if not who:
        msg = "A vote is somebody's: sign in, or say who votes."
        raise ComparisonInvalidError(msg)
    choice = choice_of(side, prompt)
    if not is_open(prompt):
        msg = (
            f"Prompt {prompt.position + 1} has not two answers to choose from. Vote when both "
            "are there; one that failed cannot be voted on."
        )
        raise ComparisonInvalidError(msg)
    who = who[:MAX_WHO_CHARS]
    # Whoever votes twice at once: the row of the prompt has them one after the other.
    ComparedPrompt.objects.select_for_update().get(pk=prompt.pk)
    earlier = Vote.objects.filter(prompt=prompt, who=who).first()
    vote, _ = Vote.objects.update_or_create(prompt=prompt, who=who, defaults={"choice": choice})
    before = {"choice": earlier.choice} if earlier else {}
    if before != {"choice": str(choice)}:
        where = {"prompt": prompt.position + 1}
        audit.record(
            Action.VOTE,
            prompt.comparison,
            before={**where, **before} if earlier else None,
            after={**where, "choice": str(choice)},
            who=who,
        )
    return vote


def is_open(prompt: ComparedPrompt) -> bool:
    """Whether both models have answered, so that one can vote."""
    return all(
        answer and not answer.get("error") for answer in (prompt.answer_a, prompt.answer_b)
    )


def tallies() -> dict[tuple[str, str], Tally]:
    """Return what all votes come to, by (model_id, task).

    A model against itself, with other settings, counts for neither.
    """
    counted: dict[tuple[str, str], Tally] = defaultdict(Tally)
    rows = (
        Vote.objects.order_by()
        .values_list(
            "prompt__comparison__model_a",
            "prompt__comparison__model_b",
            "prompt__task",
            "choice",
        )
        .annotate(count=Count("pk"))
    )
    for a, b, task, choice, count in rows:
        if a == b:
            continue
        tally = _counted(choice, count)
        counted[a, task] = counted[a, task].plus(tally)
        counted[b, task] = counted[b, task].plus(tally.turned)
    return dict(counted)


def results_of(comparison: Comparison) -> dict[str, Tally]:
    """Return how model A stands, by task, and under "" in all."""
    results = {"": Tally()}
    rows = (
        Vote.objects.filter(prompt__comparison=comparison)
        .order_by("prompt__task")
        .values_list("prompt__task", "choice")
        .annotate(count=Count("pk"))
    )
    for task, choice, count in rows:
        tally = _counted(choice, count)
        results[""] = results[""].plus(tally)
        results[task] = results.get(task, Tally()).plus(tally)
    return results


def _counted(choice: str, count: int) -> Tally:
    """Return `count` votes alike, as they stand for model A."""
    match choice:
        case Choice.A:
            return Tally(wins=count)
        case Choice.B:
            return Tally(losses=count)
        case _:
            return Tally(ties=count)
