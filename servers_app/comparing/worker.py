"""Do a comparison: what a worker does of it, as often as it is told to.

One model after the other has all prompts, so that two that were launched for it need not
fit beside each other, and neither is measured while the other computes. An answer that is
there is not asked for again: whoever goes on after a worker died takes the next one.
"""

import time
from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.utils import timezone

from models_app.errors import ModelsError
from models_app.events import TASK, publish
from models_app.locks import node_lock
from models_app.lookup import get_model
from models_app.models import DiscoveredModel
from models_app.worker_end import stopping
from profiles_app.errors import ProfilesError
from servers_app.bench.running import ONE_AT_A_TIME
from servers_app.bench.where import measuring_node
from servers_app.benchmark_models import BENCHMARK_UNDER_WAY, BenchmarkState
from servers_app.comparing.answering import Answer, NotWantedError, ask
from servers_app.comparing.progress import progress_of
from servers_app.comparing.prompts import Prompt
from servers_app.comparing.reach import Reach
from servers_app.comparison_models import ComparedPrompt, Comparison
from servers_app.errors import BenchmarkCancelledError, ServersError

ASK_S: Final = 0.5
ANSWERS: Final = {"answer_a": "model_a", "answer_b": "model_b"}


def run(comparison_id: int) -> None:
    """Do a comparison to its end, and after it the others of this node that wait.

    Where one is being done, or something is measured, nothing happens: two at once would
    slow each other. Whoever does that takes this next, or `left_behind` tells of it.
    """
    next_id: int | None = comparison_id
    while next_id is not None and not stopping.is_set():
        with node_lock(ONE_AT_A_TIME) as held:
            if not held:
                return
            _run(next_id)
        next_id = next(iter(waiting()), None)


def waiting() -> list[int]:
    """Return the comparisons that this node is to do, or to go on with; the oldest first."""
    rows = list(Comparison.objects.filter(state__in=BENCHMARK_UNDER_WAY).order_by("pk"))
    if not rows:
        return []
    models = DiscoveredModel.objects.select_related("root").filter(
        model_id__in={row.model_a for row in rows}
    )
    nodes = {model.model_id: measuring_node(model) for model in models}
    here: str = settings.MAGI_NODE
    return [row.pk for row in rows if nodes.get(row.model_a, here) == here]


def left_behind() -> list[int]:
    """Return the comparison that is next, if nobody on this node is at work on one."""
    left = waiting()[:1]
    if not left:
        return []
    with node_lock(ONE_AT_A_TIME) as held:
        return left if held else []


def _run(comparison_id: int) -> None:
    started = Comparison.objects.filter(pk=comparison_id, state__in=BENCHMARK_UNDER_WAY)
    if not started.update(state=BenchmarkState.RUNNING):
        return  # it is over, or was deleted
    comparison = Comparison.objects.get(pk=comparison_id)
    _tell(comparison, BenchmarkState.RUNNING)
    try:
        for column in ANSWERS:
            _answer_all(comparison, column)
    except (NotWantedError, BenchmarkCancelledError):
        if not stopping.is_set():  # else the next worker goes on
            _end(comparison, BenchmarkState.CANCELLED)
    except (ServersError, ModelsError, ProfilesError) as error:
        _end(comparison, BenchmarkState.FAILED, str(error))
    except Exception:
        why = "It failed unexpectedly; the worker's log says why. Start it again."
        _end(comparison, BenchmarkState.FAILED, why)
        raise
    else:
        _end(comparison, BenchmarkState.FINISHED)


def _answer_all(comparison: Comparison, column: str) -> None:
    """Have one of the models answer what it has not answered yet."""
    open_prompts = comparison.prompts.filter(**{f"{column}__isnull": True})
    if not open_prompts.exists():
        return
    is_wanted = _Wanted(comparison.pk)
    model = get_model(getattr(comparison, ANSWERS[column]))
    with Reach(model, is_wanted) as reach:
        for row in open_prompts.order_by("position"):
            if not is_wanted():
                raise NotWantedError
            _keep(row, column, _answer(reach, row, comparison, is_wanted))
            _tell(comparison, BenchmarkState.RUNNING)


def _answer(
    reach: Reach, row: ComparedPrompt, comparison: Comparison, is_wanted: Callable[[], bool]
) -> Answer:
    prompt = Prompt(row.prompt, row.task)
    return ask(reach.target(), prompt, comparison.settings, is_wanted=is_wanted)


def _keep(row: ComparedPrompt, column: str, answer: Answer) -> None:
    ComparedPrompt.objects.filter(pk=row.pk).update(**{column: answer})


class _Wanted:
    """Whether a comparison is to go on: nobody has cancelled or deleted it, nor this worker.

    It may be asked as often as one likes; the database is twice a second.
    """

    def __init__(self, comparison_id: int) -> None:
        self._rows = Comparison.objects.filter(pk=comparison_id, is_wanted=True)
        self._asked_at = float("-inf")
        self._is = True

    def __call__(self) -> bool:
        if self._is and time.monotonic() - self._asked_at >= ASK_S:
            self._asked_at = time.monotonic()
            self._is = not stopping.is_set() and self._rows.exists()
        return self._is


def _end(comparison: Comparison, state: BenchmarkState, error: str = "") -> None:
    Comparison.objects.filter(pk=comparison.pk).update(
        state=state, error=error, finished_at=timezone.now()
    )
    _tell(comparison, state)


def _tell(comparison: Comparison, state: BenchmarkState) -> None:
    publish(
        TASK,
        {
            "task": "comparison",
            "comparison_id": comparison.pk,
            "state": state,
            "percent": progress_of(comparison).percent,
        },
    )
