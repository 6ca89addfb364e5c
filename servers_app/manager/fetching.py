"""Fetch a model for somebody who asked at /ai, and say how far it is."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from django.conf import settings
from rest_framework import status
from rest_framework.exceptions import APIException

from models_app.download_models import Download, DownloadState
from models_app.downloads.figures import eta_seconds, percent, size_text
from models_app.downloads.references import parse_reference
from models_app.downloads.service import request_download, wait_for
from models_app.queue import require_worker
from servers_app.manager.names import name_of
from servers_app.manager.switching import finish, switch_when_there
from servers_app.manager_models import SwitchRequest

SETTLED_S: Final = 0.5  # a download that does not fit ends sooner, once its size is known
_WORDS: Final[Mapping[str, str]] = {
    DownloadState.QUEUED: "queued",
    DownloadState.RUNNING: "downloading",
    DownloadState.VERIFYING: "verifying",
    DownloadState.FINISHED: "installed",
    DownloadState.FAILED: "failed",
    DownloadState.CANCELLED: "cancelled",
}
_STATUSES: Final[Mapping[str, int]] = {
    "invalid": status.HTTP_400_BAD_REQUEST,
    "gated": status.HTTP_403_FORBIDDEN,
    "unknown": status.HTTP_404_NOT_FOUND,
    "no_quant": status.HTTP_404_NOT_FOUND,
    "unsupported": status.HTTP_409_CONFLICT,
    "offline": status.HTTP_503_SERVICE_UNAVAILABLE,
    "unavailable": status.HTTP_503_SERVICE_UNAVAILABLE,
    "disk_full": status.HTTP_507_INSUFFICIENT_STORAGE,
}


class NotFetchedError(APIException):
    """A download that came to nothing, answered by why."""

    def __init__(self, download: Download) -> None:
        why = download.error or f"The download of {download.reference} was cancelled."
        self.code = download.error_code or download.state
        self.status_code = _STATUSES.get(self.code, status.HTTP_502_BAD_GATEWAY)
        super().__init__(why, self.code)


def fetch(
    name: str, *, source: str = "", auto_switch: bool, who: str, wait_s: float
) -> Download:
    """Have a model fetched; return it as soon as it is known that it can be.

    Args:
        auto_switch: switch to it when it is there.
        wait_s: no longer than that.

    Raises:
        InvalidReferenceError: it is no name that a hub has.
        NoWorkerError, QueueUnavailableError: nobody would fetch it.
        NotFetchedError: the hub does not have it, it does not fit, or it cannot be asked.
    """
    parse_reference(name, source=source)
    require_worker(settings.MAGI_NODE)
    download = request_download(name, source=source, who=who)
    if auto_switch:
        switch_when_there(download, who=who)
    download = wait_for(download.pk, seconds=wait_s, until=_settled())
    if download.state == DownloadState.FINISHED:
        finish(download.node)
    if download.state in (DownloadState.FAILED, DownloadState.CANCELLED):
        SwitchRequest.objects.filter(download=download).delete()
        raise NotFetchedError(download)
    return download


def progress_of(download: Download, *, with_paths: bool) -> dict[str, Any]:
    """Return how far a download is, in the words of seed 004.

    Args:
        with_paths: where it lies on the disk, too.
    """
    model, seconds = download.model, eta_seconds(download)
    path = model.file_path if model is not None else download.folder
    total = download.total_bytes
    return {
        "download_id": download.pk,
        "model_name": name_of(model) if model is not None else download.reference,
        "status": _WORDS[download.state],
        "progress": percent(download) or 0,
        "download_size": None if total is None else size_text(total),
        "estimated_time_seconds": None if seconds is None else round(seconds),
        "install_path": path or None if with_paths else None,
        "model_id": model.model_id if model is not None else None,
        "downloaded_bytes": download.done_bytes,
        "total_bytes": total,
        "bytes_per_second": download.bytes_per_s,
        "auto_switch": SwitchRequest.objects.filter(download=download).exists(),
        "error": download.error or None,
        "error_code": download.error_code or None,
    }


def sentence_of(download: Download) -> str:
    match download.state:
        case DownloadState.FINISHED:
            return f"{download.reference} is installed."
        case DownloadState.FAILED:
            return f"The download of {download.reference} failed: {download.error}"
        case DownloadState.CANCELLED:
            return f"The download of {download.reference} was cancelled."
        case DownloadState.QUEUED:
            return f"The download of {download.reference} waits for its turn."
    return "Download in progress..."


def _settled() -> Callable[[Download], bool]:
    """Return what tells whether a download has ended, or is under way for good."""
    known_at: float | None = None

    def is_settled(download: Download) -> bool:
        nonlocal known_at
        if not download.is_under_way:
            return True
        if download.state == DownloadState.QUEUED or download.total_bytes is None:
            return False
        known_at = known_at or time.monotonic()
        return time.monotonic() - known_at >= SETTLED_S

    return is_settled
