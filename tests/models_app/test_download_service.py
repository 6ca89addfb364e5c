"""Asking for downloads: what is written down, and what is queued."""

from pathlib import Path

import pytest
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from models_app.audit_models import Action, AuditEntry
from models_app.download_models import Download, DownloadState
from models_app.downloads import service
from models_app.downloads.control import Bucket
from models_app.downloads.figures import as_json, eta_seconds, percent, rate_text, size_text
from models_app.errors import (
    InvalidReferenceError,
    QueueUnavailableError,
    UnsupportedDownloadError,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("node_folders")]


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The downloads that were queued, by number."""
    numbers: list[int] = []
    monkeypatch.setattr(service, "queue", lambda download: numbers.append(download.pk))
    return numbers


def test_what_is_asked_for_is_committed_audited_and_queued(
    queued: list[int], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        download = service.request_download("org/repo:q8_0", who="ada")
        assert queued == []

    assert queued == [download.pk]
    assert (download.reference, download.state) == ("org/repo:Q8_0", DownloadState.QUEUED)
    assert (download.node, download.asked_by) == ("local", "ada")
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.target_name, entry.who) == (Action.PULL, "org/repo:Q8_0", "ada")


def test_one_that_is_under_way_is_asked_for_once(
    queued: list[int], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        first = service.request_download("org/repo:Q8_0")
        again = service.request_download("hf.co/org/repo:q8_0")

    assert again.pk == first.pk
    assert queued == [first.pk]
    assert AuditEntry.objects.count() == 1


@pytest.mark.parametrize(("first", "then"), [("", "v1.0"), ("v1.0", ""), ("v1.0", "v2.0")])
def test_nobody_is_given_another_revision_than_they_asked_for(first: str, then: str) -> None:
    service.want("org/repo", revision=first)

    with pytest.raises(UnsupportedDownloadError, match="in another revision"):
        service.want("org/repo", revision=then)

    assert Download.objects.count() == AuditEntry.objects.count() == 1


@pytest.mark.parametrize("state", [DownloadState.FAILED, DownloadState.CANCELLED])
def test_one_that_has_stopped_goes_on(state: DownloadState) -> None:
    row, _ = service.want("org/repo")
    Download.objects.filter(pk=row.pk).update(
        state=state, is_wanted=False, error="no", error_code="failed"
    )

    again, is_new = service.want("org/repo")

    assert (again.pk, is_new) == (row.pk, True)
    again.refresh_from_db()
    assert (again.state, again.is_wanted, again.error) == (DownloadState.QUEUED, True, "")
    assert again.asked_at > row.asked_at  # among the newest in the list


def test_one_that_has_finished_is_looked_at_anew() -> None:
    row, _ = service.want("org/repo")
    Download.objects.filter(pk=row.pk).update(state=DownloadState.FINISHED)

    again, is_new = service.want("org/repo")

    assert is_new
    assert again.pk != row.pk


def test_what_names_nothing_leaves_no_row() -> None:
    with pytest.raises(InvalidReferenceError):
        service.request_download("/etc/passwd")

    assert not Download.objects.exists()


def test_without_a_queue_it_is_wanted_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    settings: Settings,
    tmp_path: Path,
) -> None:
    def away(*_args: object, **_options: object) -> None:
        raise QueueUnavailableError

    monkeypatch.setattr(service, "enqueue", away)

    with (
        pytest.raises(QueueUnavailableError),
        django_capture_on_commit_callbacks(execute=True),
    ):
        service.request_download("org/repo")

    assert Download.objects.get().state == DownloadState.QUEUED


def test_what_nobody_is_at_is_cancelled_at_once() -> None:
    row, _ = service.want("org/repo")

    service.cancel_download(row, who="ada")

    assert (row.state, row.is_wanted) == (DownloadState.CANCELLED, False)
    assert row.finished_at is not None
    assert AuditEntry.objects.filter(action=Action.CANCEL, who="ada").count() == 1


def test_what_has_ended_is_not_cancelled() -> None:
    row, _ = service.want("org/repo")
    Download.objects.filter(pk=row.pk).update(state=DownloadState.FINISHED)

    service.cancel_download(row)

    assert (row.state, row.is_wanted) == (DownloadState.FINISHED, True)
    assert not AuditEntry.objects.filter(action=Action.CANCEL).exists()


def test_waiting_ends_when_it_holds_and_when_time_is_up() -> None:
    row, _ = service.want("org/repo")

    assert service.wait_for(row.pk, seconds=0, until=lambda _now: False).pk == row.pk
    assert service.wait_for(row.pk, seconds=60, until=lambda now: now.is_under_way).pk == row.pk


def test_figures_are_those_of_the_row() -> None:
    row = Download(total_bytes=4_000_000_000, done_bytes=1_000_000_000, bytes_per_s=3_000_000)
    assert percent(row) == 25
    assert eta_seconds(row) is None  # it does not run
    row.state = DownloadState.RUNNING
    assert eta_seconds(row) == pytest.approx(1000)
    row.bytes_per_s = 0
    assert eta_seconds(row) is None
    row.done_bytes = 4_000_000_000
    assert percent(row) == 99  # its hash is still to be checked
    row.state = DownloadState.FINISHED
    assert percent(row) == 100
    assert as_json(row)["percent"] == 100


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3_800_000_000, "3.8 GB"),
     (999_960, "1.0 MB"), (10**18, "1000.0 PB")],
)  # fmt: skip
def test_sizes_are_told_by_thousands(n_bytes: int, text: str) -> None:
    assert size_text(n_bytes) == text
    assert rate_text(n_bytes) == f"{text}/s"


def test_a_limit_holds_over_all_who_take_from_it() -> None:
    bucket = Bucket(1000)

    waits = [bucket.take(500) for _ in range(4)]

    assert waits == pytest.approx([0.5, 1.0, 1.5, 2.0], abs=0.1)
