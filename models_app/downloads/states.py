"""The only module that writes what a download is, and tells those who listen."""

from collections.abc import Sequence
from typing import Any

from models_app.download_models import Download, DownloadState
from models_app.downloads.figures import percent
from models_app.events import TASK, publish


def move(
    pk: int, state: DownloadState, *, out_of: Sequence[DownloadState], **fields: Any
) -> bool:
    """Take a download into `state` if it is in one of `out_of`; return whether it was."""
    rows = Download.objects.filter(pk=pk, state__in=out_of)
    if "is_wanted" in fields:
        rows = rows.filter(is_wanted=fields["is_wanted"])
    return bool(rows.update(state=state, **fields))


def tell(pk: int) -> None:
    """Publish how far a download is; call it after the commit."""
    download = Download.objects.filter(pk=pk).first()
    if download is not None:
        tell_of(download)


def tell_of(download: Download) -> None:
    publish(
        TASK,
        {
            "task": "download",
            "download_id": download.pk,
            "state": download.state,
            "percent": percent(download),
        },
    )
