"""Find a model by its id, or say what there is instead."""

import difflib

from models_app.errors import UnknownModelError
from models_app.models import DiscoveredModel

MAX_ID_CHARS = 200  # as the column holds
MAX_NAMED = 10


def find_model(model_id: str) -> DiscoveredModel | None:
    if not _may_be_an_id(model_id):
        return None
    return DiscoveredModel.objects.select_related("root").filter(model_id=model_id).first()


def get_model(model_id: str) -> DiscoveredModel:
    """Return the model of that id.

    Raises:
        UnknownModelError: there is none; the message says what there is.
    """
    model = find_model(model_id)
    if model is None:
        raise unknown(model_id)
    return model


def unknown(model_id: str) -> UnknownModelError:
    """Return the error for a model that is not here, with what there is instead of it."""
    if not _may_be_an_id(model_id):
        return UnknownModelError(model_id[:MAX_ID_CHARS], "It cannot be the id of a model.")
    ids = list(DiscoveredModel.objects.order_by("model_id").values_list("model_id", flat=True))
    if not ids:
        return UnknownModelError(model_id, "No model is registered yet.")
    if len(ids) <= MAX_NAMED:
        return UnknownModelError(model_id, f"Available: {', '.join(ids)}.")
    if close := difflib.get_close_matches(model_id, ids, n=MAX_NAMED):
        return UnknownModelError(model_id, f"Nearest among {len(ids)}: {', '.join(close)}.")
    return UnknownModelError(model_id, f"Nothing among {len(ids)} is like it.")


def _may_be_an_id(model_id: str) -> bool:
    """Whether a database can be asked for it: PostgreSQL takes no NUL character."""
    return len(model_id) <= MAX_ID_CHARS and "\0" not in model_id
