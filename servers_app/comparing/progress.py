"""How far a comparison is."""

from collections.abc import Collection
from typing import NamedTuple

from django.db.models import Count

from servers_app.comparison_models import ComparedPrompt, Comparison


class Progress(NamedTuple):
    answered: int
    failed: int  # of those that were answered, how many with an error
    total: int  # two for each prompt

    @property
    def percent(self) -> int:
        return round(100 * self.answered / self.total) if self.total else 0


def progress_of(comparison: Comparison) -> Progress:
    return progress_of_all([comparison.pk])[comparison.pk]


def progress_of_all(comparison_ids: Collection[int]) -> dict[int, Progress]:
    """Count the answers of comparisons, by one query for all of them."""
    rows = (
        ComparedPrompt.objects.filter(comparison_id__in=comparison_ids)
        .order_by()
        .values("comparison_id")
        .annotate(
            prompts=Count("pk"),
            a=Count("answer_a"),
            b=Count("answer_b"),
            a_failed=Count("answer_a__error"),
            b_failed=Count("answer_b__error"),
        )
    )
    counted = {
        row["comparison_id"]: Progress(
            row["a"] + row["b"], row["a_failed"] + row["b_failed"], 2 * row["prompts"]
        )
        for row in rows
    }
    return {pk: counted.get(pk, Progress(0, 0, 0)) for pk in comparison_ids}
