"""Figures of a download as people read them, and as JSON has them."""

from typing import Any

from models_app.download_models import Download, DownloadState

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_SLOWEST = 1.0  # bytes a second; what is slower ends when nobody can say


def percent(download: Download) -> int | None:
    """Return how much of it is there; 100 only of one that has finished."""
    if download.state == DownloadState.FINISHED:
        return 100
    if not download.total_bytes:
        return None
    return min(99, download.done_bytes * 100 // download.total_bytes)


def eta_seconds(download: Download) -> float | None:
    """Return how long the rest takes at the present rate; None where nobody can say."""
    if download.state != DownloadState.RUNNING or download.total_bytes is None:
        return None
    if not download.bytes_per_s or download.bytes_per_s < _SLOWEST:
        return None
    return max(0, download.total_bytes - download.done_bytes) / download.bytes_per_s


def size_text(n_bytes: int) -> str:
    """Return bytes as disks and hubs count them, by thousands.

    >>> size_text(3_800_000_000), size_text(999)
    ('3.8 GB', '999 B')
    """
    value, unit = float(n_bytes), 0
    while round(value, 1) >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{n_bytes} B"


def rate_text(bytes_per_s: float | None) -> str:
    return f"{size_text(round(bytes_per_s))}/s" if bytes_per_s is not None else ""


def as_json(download: Download) -> dict[str, Any]:
    """Return a download for programs. Its folder is not in it: it is for those who manage."""
    return {
        "id": download.pk,
        "node": download.node,
        "source": download.source,
        "reference": download.reference,
        "from_node": download.from_node,
        "revision": download.revision,
        "commit": download.commit,
        "state": download.state,
        "files": download.files,
        "total_bytes": download.total_bytes,
        "done_bytes": download.done_bytes,
        "percent": percent(download),
        "bytes_per_s": download.bytes_per_s,
        "eta_seconds": eta_seconds(download),
        "limit_bytes_per_s": download.limit_bytes_per_s,
        "error": download.error,
        "error_code": download.error_code,
        "model_id": download.model.model_id if download.model else None,
        "asked_by": download.asked_by,
        "asked_at": _iso(download.asked_at),
        "started_at": _iso(download.started_at),
        "finished_at": _iso(download.finished_at),
    }


def _iso(moment: Any) -> str | None:
    return moment.isoformat() if moment is not None else None
