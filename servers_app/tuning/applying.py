"""Take over what a search found, as the run settings of its model. Only people do that."""

from typing import Any, NamedTuple

from django.conf import settings as django_settings
from django.db import transaction

from models_app import audit
from models_app.audit_models import Action
from models_app.lookup import get_model
from profiles_app.models import ModelRunSettings
from profiles_app.resolution import settings_of
from profiles_app.runsettings import check
from profiles_app.services import active_profile
from servers_app.benchmark_models import Benchmark, BenchmarkKind, BenchmarkState
from servers_app.errors import TuningNotAppliedError
from servers_app.tuning.outcome import settings_words


class Applied(NamedTuple):
    settings: dict[str, Any]  # those that the search found
    overruled: dict[str, str]  # by name: who says else, and counts more

    @property
    def sentence(self) -> str:
        said = f"It has {settings_words(self.settings)} from its next start on."
        for name, origin in self.overruled.items():
            said = f"{said} {name} stays as {origin} says: that counts more."
        return f"{said} A server that runs keeps what it has: restart it."


def apply_tuning(benchmark: Benchmark, *, who: str = "") -> Applied:
    """Write what a search found into the run settings of its model.

    What they say otherwise stays.

    Raises:
        TuningNotAppliedError: it is no search, is not over, or has found nothing better.
        UnknownModelError: its model is not there any more.
    """
    if benchmark.kind != BenchmarkKind.TUNE:
        msg = f"Benchmark {benchmark.pk} is no search for settings. Make one: manage.py tune."
        raise TuningNotAppliedError(msg)
    if benchmark.state != BenchmarkState.FINISHED:
        msg = f"Search {benchmark.pk} is {benchmark.state}: only one that finished is applied."
        raise TuningNotAppliedError(msg)
    found, problems = check(
        benchmark.outcome.get("settings", {}),
        allowed_args=django_settings.MAGI_ALLOWED_EXTRA_ARGS,
    )
    if not found or problems:
        msg = f"Search {benchmark.pk} found nothing better, so there is nothing to apply."
        raise TuningNotAppliedError(msg)
    model = get_model(benchmark.model_id)
    with transaction.atomic():
        row, is_new = ModelRunSettings.objects.select_for_update().get_or_create(
            model_id=model.model_id
        )
        before = dict(row.run_settings)
        row.run_settings = {**before, **found}
        row.save(update_fields=["run_settings"])
        audit.record(
            Action.CREATE if is_new else Action.UPDATE,
            row,
            before=None if is_new else {"run_settings": before},
            after={"run_settings": row.run_settings, "by_search": benchmark.pk},
            who=who,
        )
    now = settings_of(model, active_profile())
    overruled = {
        name: now[name].origin
        for name, value in found.items()
        if now[name].value != value and now[name].origin != "model"
    }
    return Applied(found, overruled)
