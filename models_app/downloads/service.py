"""Ask for a download, or cancel one: checked, committed, then queued. Nothing is done here."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from models_app import audit, tasks
from models_app.acting import actor
from models_app.audit_models import Action
from models_app.download_models import UNDER_WAY, Download, DownloadState
from models_app.downloads.references import checked_revision, parse_reference
from models_app.downloads.states import move, tell
from models_app.downloads.worker import lock_name
from models_app.errors import UnsupportedDownloadError
from models_app.locks import node_lock
from models_app.queue import enqueue

POLL_S = 0.2
MAX_WHO_CHARS = 150
TOLD = ("revision", "from_node")
AGAIN = (DownloadState.FAILED, DownloadState.CANCELLED)


def request_download(
    reference: str,
    *,
    source: str = "",
    node: str = "",
    revision: str = "",
    limit_bytes_per_s: int | None = None,
    who: str = "",
) -> Download:
    """Want a model on `node`, and queue its download.

    One that is under way is returned as it is. One that failed or was cancelled goes on
    where it stopped.

    Args:
        reference: `org/repo`, `org/repo:QUANT`, or `name:tag` of Ollama's registry.
        source: `hub` or `ollama`; empty: by the reference.
        node: empty: this one.
        revision: a branch, a tag or a commit of a repo.
        limit_bytes_per_s: no more than so many, over all its files.
        who: asks, where no request says who it is.

    Raises:
        InvalidReferenceError: it names nothing that could be fetched.
        UnsupportedDownloadError: another revision of it is being fetched.
        QueueUnavailableError: (after the commit) the queue did not take the task.
    """
    with transaction.atomic():
        download, is_new = want(
            reference,
            source=source,
            node=node,
            revision=revision,
            limit_bytes_per_s=limit_bytes_per_s,
            who=who,
        )
        if is_new:
            transaction.on_commit(partial(queue, download))
    return download


def want(
    reference: str,
    *,
    source: str = "",
    node: str = "",
    revision: str = "",
    limit_bytes_per_s: int | None = None,
    who: str = "",
) -> tuple[Download, bool]:
    """Write down that a model is wanted; return its row, and whether that is news."""
    asked = parse_reference(reference, source=source)
    named = {
        "node": node or settings.MAGI_NODE,
        "source": asked.source,
        "reference": str(asked),
    }
    values: dict[str, Any] = {
        "revision": checked_revision(revision),
        "limit_bytes_per_s": limit_bytes_per_s,
    }
    return write_down(named, values, action=Action.PULL, who=who)


def write_down(
    named: Mapping[str, str], values: Mapping[str, Any], *, action: Action, who: str
) -> tuple[Download, bool]:
    """Write down that a download is wanted; return its row, and whether that is news.

    Args:
        named: node, source and reference: what makes two of them the same.
        values: its other columns.
        action: what the audit calls it.
    """
    values = {"asked_by": actor(who).who[:MAX_WHO_CHARS], **values}
    try:
        with transaction.atomic():
            return _row(named, values, action, who)
    except IntegrityError:  # somebody asked for the same at the same moment
        return Download.objects.get(state__in=UNDER_WAY, **named), False


def cancel_download(download: Download, *, who: str = "") -> None:
    """Want `download` no longer. Its worker stops within a second; what is there stays.

    One that has ended is left as it is.
    """
    with transaction.atomic():
        of_it = Download.objects.filter(pk=download.pk, state__in=UNDER_WAY, is_wanted=True)
        if of_it.update(is_wanted=False):
            audit.record(Action.CANCEL, download, after={"is_wanted": False}, who=who)
    if _is_nobodys(download) and move(
        download.pk, DownloadState.CANCELLED, out_of=UNDER_WAY, is_wanted=False
    ):
        Download.objects.filter(pk=download.pk).update(
            finished_at=timezone.now(), bytes_per_s=None
        )
        tell(download.pk)
    download.refresh_from_db()


def wait_for(
    download_id: int, *, seconds: float, until: Callable[[Download], bool]
) -> Download:
    """Return the download as soon as `until` holds of it, or as it is after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        download = Download.objects.select_related("model").get(pk=download_id)
        if until(download) or time.monotonic() >= deadline:
            return download
        time.sleep(POLL_S)


def queue(download: Download) -> None:
    enqueue(tasks.download, download.pk, node=download.node, wants_result=False)


def _is_nobodys(download: Download) -> bool:
    """Whether no worker is at it, as far as this machine knows; else its worker ends it."""
    if download.node != settings.MAGI_NODE:
        return download.state == DownloadState.QUEUED
    with node_lock(lock_name(download.pk)) as held:
        return held


def _row(
    named: Mapping[str, str], values: Mapping[str, Any], action: Action, who: str
) -> tuple[Download, bool]:
    rows = Download.objects.select_for_update().filter(**named)
    if under_way := rows.filter(state__in=UNDER_WAY).first():
        _require_revision(under_way, values.get("revision", ""))
        if under_way.is_wanted:
            return under_way, False
        # It is being cancelled: it goes on instead, if its worker has not seen that yet.
        rows.filter(pk=under_way.pk).update(is_wanted=True)
        audit.record(action, under_way, after={**named, "is_wanted": True}, who=who)
        return under_way, True
    last = rows.order_by("-pk").first()
    if last is not None and last.state in AGAIN and last.revision == values.get("revision", ""):
        again = {
            **values,
            "state": DownloadState.QUEUED,
            "is_wanted": True,
            "error": "",
            "error_code": "",
            "bytes_per_s": None,
            "asked_at": timezone.now(),
            "finished_at": None,
        }
        for name, value in again.items():
            setattr(last, name, value)
        last.save(update_fields=list(again))
        audit.record(action, last, after=_told(named, values), who=who)
        return last, True
    row = Download.objects.create(**named, **values)
    audit.record(action, row, after=_told(named, values), who=who)
    return row, True


def _require_revision(under_way: Download, revision: str) -> None:
    """Make sure that whoever follows a download gets what they have asked for."""
    if under_way.revision != revision:
        msg = (
            f"{under_way.reference} is being fetched in another revision, "
            f"{under_way.revision or 'its main branch'}. Wait for that, or cancel it, and ask "
            "again."
        )
        raise UnsupportedDownloadError(msg)


def _told(named: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the audit keeps of what was asked for."""
    return {**named, **{name: values[name] for name in TOLD if name in values}}
