"""The current model: the one that somebody switched to, and `current` in the gateway."""

from typing import Final

from django.db import transaction
from django.utils import timezone

from models_app import audit
from models_app.acting import actor
from models_app.audit_models import Action
from models_app.events import MODEL, publish
from models_app.models import DiscoveredModel
from servers_app.manager_models import CurrentModel

ONLY: Final = 1  # there is one row
MAX_WHO_CHARS: Final = 150


def current_model() -> DiscoveredModel | None:
    row = CurrentModel.objects.select_related("model__root").filter(pk=ONLY).first()
    return row.model if row else None


@transaction.atomic
def make_current(model: DiscoveredModel, *, who: str = "") -> DiscoveredModel | None:
    """Make a model the current one; return the one before. The audit is told of a change."""
    row, _ = CurrentModel.objects.get_or_create(pk=ONLY)
    row = (
        CurrentModel.objects.select_for_update(of=("self",))
        .select_related("model")
        .get(pk=ONLY)
    )
    before = row.model
    if before is None or before.pk != model.pk:
        audit.record(
            Action.SWITCH,
            model,
            before={"current": before.model_id if before else None},
            after={"current": model.model_id},
            who=who,
        )
        row.model, row.since = model, timezone.now()
        row.who = actor(who).who[:MAX_WHO_CHARS]
        row.save(update_fields=["model", "since", "who"])
        transaction.on_commit(lambda: publish(MODEL, {"current": model.model_id}))
    return before
