"""How well enabled models suit each task, for the routing table, which is read every second."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from models_app.models import DiscoveredModel
from servers_app.manager.suitability import suitabilities

KEPT_S: Final = 60.0  # benchmarks, votes and failures count within a minute

Scores = Mapping[str, Mapping[str, float]]  # by task and model id


class TaskScores:
    """Works scores out when the models are others than before, and each minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: frozenset[object] = frozenset()
        self._scores: Scores | None = None
        self._until = float("-inf")

    def __call__(self, models: Sequence[DiscoveredModel]) -> Scores:
        """Return the scores of some models; those that cannot do a task are left out of it."""
        of = frozenset((model.pk, model.updated_at, model.is_launchable) for model in models)
        now = self._clock()
        if self._scores is None or of != self._of or now >= self._until:
            self._scores = {
                task: {each.model.model_id: each.score for each in ranked}
                for task, ranked in suitabilities(models).items()
            }
            self._of, self._until = of, now + KEPT_S
        return self._scores


task_scores: Final = TaskScores()
