"""A download as pages show it: a badge, a bar, words, and what can be asked of it."""

from typing import Final

from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from models_app.download_models import Download, DownloadState
from models_app.downloads.figures import eta_seconds, percent, rate_text, size_text

COLOURS: Final = {
    DownloadState.QUEUED: "stopped",
    DownloadState.RUNNING: "starting",
    DownloadState.VERIFYING: "starting",
    DownloadState.FINISHED: "ready",
    DownloadState.FAILED: "failed",
    DownloadState.CANCELLED: "stopped",
}
CANCEL: Final = "cancel"
AGAIN: Final = "again"
_TRIED_AGAIN: Final = (DownloadState.FAILED, DownloadState.CANCELLED)
_EXPLAINED: Final = {
    CANCEL: ("Cancel", "What came stays: the next download of it goes on from there."),
    AGAIN: ("Try again", "It goes on where it stopped."),
}


def badge(download: Download) -> SafeString:
    colour, word = COLOURS[DownloadState(download.state)], download.get_state_display()
    if download.is_under_way and not download.is_wanted:
        colour, word = "stopping", "Being cancelled"
    return format_html('<span class="magi-badge magi-{}">{}</span>', colour, word)


def bar(download: Download) -> SafeString:
    """Return how far it is, as a bar and in bytes."""
    done = size_text(download.done_bytes)
    if download.total_bytes is None:
        return format_html("{}", "it is asked what there is" if download.is_under_way else "-")
    part = percent(download) or 0
    # A page may write 1.000 for a thousand; what a bar counts by may not.
    return format_html(
        '<progress class="magi-load" aria-label="{} of {}" max="100" value="{}"></progress> '
        "<small>{}&nbsp;%, {} of {}</small>",
        done,
        size_text(download.total_bytes),
        str(part),
        str(part),
        done,
        size_text(download.total_bytes),
    )


def speed(download: Download) -> str:
    """Return its rate and how long the rest takes: "41.9 MB/s, 0:36 to go"."""
    if download.state != DownloadState.RUNNING:
        return ""
    words = [rate_text(download.bytes_per_s)] if download.bytes_per_s else []
    if (seconds := eta_seconds(download)) is not None:
        words.append(f"{clock(seconds)} to go")
    if download.limit_bytes_per_s:
        words.append(f"at most {rate_text(download.limit_bytes_per_s)}")
    return ", ".join(words)


def clock(seconds: float) -> str:
    """Return a time as clocks show it.

    >>> clock(36), clock(3671)
    ('0:36', '1:01:11')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def asks_of(download: Download) -> list[str]:
    """Return what can be asked of it now."""
    if download.is_under_way:
        return [CANCEL] if download.is_wanted else []
    return [AGAIN] if download.state in _TRIED_AGAIN else []


def buttons(download: Download) -> SafeString:
    """Return its buttons, of whichever form they are in: POST, with its token."""
    return format_html_join(
        " ",
        '<button class="magi-ask" id="download-{}-{}" title="{}" formmethod="post" '
        'formaction="{}">{}</button>',
        (
            (
                download.pk,
                ask,
                _EXPLAINED[ask][1],
                reverse(f"admin:models_app_download_{ask}", args=[download.pk]),
                _EXPLAINED[ask][0],
            )
            for ask in asks_of(download)
        ),
    )


def what_it_became(download: Download) -> SafeString:
    """Return the model that it was registered as, or why there is none."""
    if download.model is None or download.state != DownloadState.FINISHED:
        return format_html("{}", download.error)
    page = reverse("admin:models_app_discoveredmodel_change", args=[download.model.pk])
    return format_html('<a href="{}">{}</a>', page, download.model.display_name)
