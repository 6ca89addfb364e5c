"""Downloads that nobody is at: their worker was killed, or there was no place for them."""

from models_app.download_models import UNDER_WAY, Download
from models_app.downloads.worker import lock_name, slot
from models_app.locks import node_lock


def waiting(node: str) -> list[int]:
    """Return the downloads of this node that nobody is at, the oldest first.

    While no place is free, there are none to begin with.
    """
    rows = Download.objects.filter(node=node, state__in=UNDER_WAY).order_by("asked_at", "pk")
    ids = list(rows.values_list("pk", flat=True))
    if not ids:
        return []
    with slot() as has_place:
        if not has_place:
            return []
    return [pk for pk in ids if _is_alone(pk)]


def _is_alone(download_id: int) -> bool:
    with node_lock(lock_name(download_id)) as held:
        return held
