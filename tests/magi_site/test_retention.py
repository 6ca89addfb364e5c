"""Nothing grows for ever: what goes, what stays, and what is left of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.apps import apps
from django.contrib.sessions.models import Session
from django.utils import timezone
from pytest_django import Settings

from magi_site import tasks
from magi_site.retention import bounds_of_database
from models_app import retention
from models_app.copy_models import ScanDay
from models_app.download_models import Download, DownloadSource, DownloadState
from models_app.models import Scan, ScanMemory, ScanState
from models_app.retention import Bound
from servers_app.benchmark_models import Benchmark, BenchmarkState
from servers_app.comparison_models import Choice, ComparedPrompt, Comparison, Vote
from servers_app.gateway.table import table_now
from servers_app.models import ServerEvent, ServerEventDay, ServerState, Wanted
from tests.conftest import MakeModel, MakeServer

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)

# Tables of which a row is what somebody has set up, or is for each of what they have: they
# grow with that, and with nothing else.
SET_UP = {
    "models_app": {"DiscoveredModel", "DiscoveryRules", "ModelCopy", "ScanMemory", "ScanRoot"},
    "profiles_app": {
        "BaseRunSettings",
        "ModelPreset",
        "ModelRunSettings",
        "Profile",
        "ProfileMember",
        "ProfileVersion",
        "SamplingPreset",
        "TierRule",
    },
    "servers_app": {"ApiKey", "CurrentModel", "EngineBuild", "Node", "Server"},
}
# And those that are bounded; docs/retention.md says by what.
BOUNDED = {
    "models_app": {"AuditEntry", "Download", "ModelVersion", "Scan", "ScanDay"},
    "profiles_app": set[str](),
    "servers_app": {
        "Benchmark",
        "ComparedPrompt",
        "Comparison",
        "MemoryMeasurement",
        "ModelPerformance",
        "RequestRecord",
        "ServerEvent",
        "ServerEventDay",
        "SwitchRequest",
        "UsageDay",
        "UsageMinute",
        "Vote",
    },
}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr(retention, "CHUNK", 3)
    settings.MAGI_SCAN_DAYS = settings.MAGI_EVENT_DAYS = settings.MAGI_HISTORY_DAYS = 90


def bound(name: str) -> Bound:
    (found,) = (each for each in bounds_of_database() if each.name == name)
    return found


def prune(name: str) -> int:
    """Prune, and see that as much was told before, and nothing is left to do after it."""
    due = bound(name).due(NOW)
    assert bound(name).prune(NOW) == due
    assert (bound(name).due(NOW), bound(name).prune(NOW)) == (0, 0)
    return due


def test_of_every_table_it_is_known_what_bounds_it() -> None:
    for label, bounded in BOUNDED.items():
        tables = {model.__name__ for model in apps.get_app_config(label).get_models()}
        assert tables == SET_UP[label] | bounded


# -- server events


def event(server: Any, days: float, **fields: Any) -> ServerEvent:
    row = ServerEvent.objects.create(server=server, **fields)
    ServerEvent.objects.filter(pk=row.pk).update(at=NOW - days * DAY)
    return row


def test_events_become_sums_of_their_days(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers_app.old_rows.KEPT_EVENTS", 2)
    server = make_server()
    for n in range(8):
        event(server, 100 + n / 100, to_state="ready", seconds=1.5)
    event(server, 101, why="A note.")
    young = [event(server, 1).pk, event(server, 0).pk]

    assert prune("server events") == 9
    assert set(ServerEvent.objects.values_list("pk", flat=True)) == set(young)
    assert list(
        ServerEventDay.objects.order_by("to_state", "day").values_list(
            "day", "model_id", "node", "to_state", "events", "seconds"
        )
    ) == [
        ((NOW - 101 * DAY).date(), server.model.model_id, "local", "", 1, 0.0),
        ((NOW - 100 * DAY).date(), server.model.model_id, "local", "ready", 8, 12.0),
    ]


def test_the_last_events_of_a_server_stay_however_old(
    make_server: MakeServer, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers_app.old_rows.KEPT_EVENTS", 2)
    quiet, busy = make_server(make_model("a")), make_server(make_model("b"))
    kept = [event(quiet, 500).pk, event(quiet, 400).pk]
    for n in range(5):
        event(busy, 200 - n)

    assert prune("server events") == 3
    assert set(ServerEvent.objects.filter(server=quiet).values_list("pk", flat=True)) == {*kept}
    assert ServerEvent.objects.filter(server=busy).count() == 2


@pytest.mark.parametrize("days", [0, 90])
def test_of_a_server_that_has_events_without_end_only_so_many_are_kept(
    days: int, make_server: MakeServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MAGI_EVENT_DAYS = days
    monkeypatch.setattr("servers_app.old_rows.KEPT_EVENTS", 2)
    monkeypatch.setattr("servers_app.old_rows.MOST_EVENTS", 5)
    server = make_server()
    events = [event(server, 0, to_state="failed").pk for _ in range(9)]

    assert prune("server events") == 4
    assert list(ServerEvent.objects.order_by("pk").values_list("pk", flat=True)) == events[4:]
    assert ServerEventDay.objects.get().events == 4


def test_how_long_a_server_last_took_to_load_is_known_for_good(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers_app.old_rows.KEPT_EVENTS", 2)
    server = make_server(wanted=Wanted.RUNNING, state=ServerState.READY)
    load = {"from_state": ServerState.STARTING, "to_state": ServerState.READY}
    event(server, 300, **load, seconds=99)
    event(server, 200, **load, seconds=42)
    for n in range(9):
        event(server, 150 - n)
    before = table_now().routes

    assert prune("server events") == 8
    assert table_now().routes == before
    assert ServerEvent.objects.get(to_state="ready").seconds == 42


# -- scans


def scan(days: float, node: str = "local", **fields: Any) -> Scan:
    row = Scan.objects.create(node=node, **{"state": ScanState.FINISHED, **fields})
    Scan.objects.filter(pk=row.pk).update(started_at=NOW - days * DAY)
    return row


def test_scans_become_sums_of_their_days() -> None:
    for _ in range(4):
        scan(100, files_seen=7, added=1, seconds=0.5)
    scan(100, state=ScanState.FAILED)
    newest = scan(1)

    assert prune("scan reports") == 5
    assert list(Scan.objects.all()) == [newest]
    day = ScanDay.objects.get()
    assert (day.day, day.node) == ((NOW - 100 * DAY).date(), "local")
    assert (day.scans, day.failed, day.files_seen, day.added) == (5, 1, 28, 4)
    assert day.seconds == 2.0


def test_the_last_scan_of_a_node_stays_and_the_last_that_finished() -> None:
    scan(400, node="b")
    kept = {scan(300, node="b").pk, scan(300, node="c").pk}
    kept.add(scan(250, node="c", state=ScanState.INTERRUPTED).pk)
    running = scan(250, node="b", state=ScanState.RUNNING).pk

    assert prune("scan reports") == 1
    assert set(Scan.objects.values_list("pk", flat=True)) == {*kept, running}


@pytest.mark.parametrize("days", [0, 90])
def test_of_scans_without_end_only_so_many_are_kept(
    days: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MAGI_SCAN_DAYS = days
    monkeypatch.setattr("models_app.old_rows.MOST_SCANS", 3)
    rows = [scan(1).pk for _ in range(7)]
    other = scan(1, node="b").pk

    assert prune("scan reports") == 4
    assert set(Scan.objects.values_list("pk", flat=True)) == {*rows[4:], other}
    assert ScanDay.objects.get().scans == 4


def test_what_a_rescan_remembers_is_not_pruned() -> None:
    remembered, old = scan(300), scan(200)
    memory = ScanMemory.objects.create(
        node="local", fingerprint="f", registered="r", scan=remembered
    )
    scan(1)

    assert prune("scan reports") == 1
    memory.refresh_from_db()
    assert memory.scan == remembered
    assert not Scan.objects.filter(pk=old.pk).exists()


# -- what ended


def test_downloads_that_ended_go_but_for_those_that_brought_a_model(
    make_model: MakeModel,
) -> None:
    def download(state: DownloadState, days: float, **fields: Any) -> int:
        name = f"org/repo:{Download.objects.count()}"
        source = DownloadSource.HUB
        row = Download.objects.create(
            node="local", source=source, reference=name, state=state, **fields
        )
        Download.objects.filter(pk=row.pk).update(asked_at=NOW - days * DAY)
        return row.pk

    kept = {
        download(DownloadState.FINISHED, 400, model=make_model()),
        download(DownloadState.RUNNING, 400),
        download(DownloadState.FAILED, 80),
    }
    download(DownloadState.FAILED, 100)
    download(DownloadState.CANCELLED, 100)
    download(DownloadState.FINISHED, 100)  # its model is forgotten

    assert prune("downloads that ended") == 3
    assert set(Download.objects.values_list("pk", flat=True)) == kept


def test_the_last_benchmark_of_a_model_stays() -> None:
    def benchmark(days: float, **fields: Any) -> int:
        values = {"model_id": "qwen", "node": "local", "state": BenchmarkState.FINISHED}
        row = Benchmark.objects.create(**{**values, **fields})
        Benchmark.objects.filter(pk=row.pk).update(asked_at=NOW - days * DAY)
        return row.pk

    benchmark(400)
    kept = {benchmark(300), benchmark(300, model_id="gemma"), benchmark(300, node="b")}
    benchmark(200, state=BenchmarkState.FAILED)
    kept.add(benchmark(200, state=BenchmarkState.QUEUED))

    assert prune("benchmarks") == 2
    assert set(Benchmark.objects.values_list("pk", flat=True)) == kept


def test_a_comparison_that_somebody_voted_on_stays() -> None:
    for n in range(3):
        comparison = Comparison.objects.create(
            model_a="a", model_b="b", state=BenchmarkState.FINISHED
        )
        prompt = ComparedPrompt.objects.create(comparison=comparison, position=0, prompt="?")
        if n == 0:
            Vote.objects.create(prompt=prompt, who="ada", choice=Choice.A)
            voted = comparison
    Comparison.objects.update(asked_at=NOW - 400 * DAY)

    assert prune("comparisons") == 2
    assert list(Comparison.objects.all()) == [voted]
    assert ComparedPrompt.objects.count() == 1


def test_sessions_and_failed_sign_ins_go_when_they_keep_nobody_in_or_out() -> None:
    for n in range(-4, 3):
        Session.objects.create(session_key=f"s{n}", expire_date=NOW + n * DAY)
    for n in range(4):
        attempt = AccessAttempt.objects.create(
            username="ada", ip_address=f"10.0.0.{n}", failures_since_start=1
        )
        at = NOW - n * timedelta(minutes=10)
        AccessAttempt.objects.filter(pk=attempt.pk).update(attempt_time=at)

    assert prune("sessions") == 4
    assert prune("failed sign-ins") == 2


def test_what_is_0_is_kept_for_good(settings: Settings, make_server: MakeServer) -> None:
    settings.MAGI_SCAN_DAYS = settings.MAGI_EVENT_DAYS = settings.MAGI_HISTORY_DAYS = 0
    settings.MAGI_AUDIT_DAYS = settings.MAGI_REQUEST_LOG_ROWS = 0
    server = make_server()
    for _ in range(3):
        scan(3000)
        event(server, 3000)

    for each in bounds_of_database():
        assert each.prune(NOW) == 0


# -- when it is done


def test_pruning_is_on_the_schedule(settings: Settings) -> None:
    entry = settings.CELERY_BEAT_SCHEDULE["prune"]

    assert entry["task"] == tasks.prune.name
    assert entry["options"]["expires"] < entry["schedule"]
    assert tasks.prune_node.name in settings.NODE_SCHEDULE


def test_what_cannot_be_pruned_keeps_nothing_else_from_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(now: datetime) -> int:
        msg = "disk full"
        raise OSError(msg)

    bad = Bound("things", lambda: "1 day", fail, fail)
    good = Bound("others", lambda: "1 day", lambda now: 4, lambda now: 4)

    with caplog.at_level("INFO", logger="models_app.retention"):
        first, second = retention.apply([bad, good], NOW)

    assert (first.count, first.problem, second.count) == (None, "disk full", 4)
    assert "The things cannot be pruned: disk full" in caplog.text
    assert "Pruned 4 of the others" in caplog.text


def test_a_clock_that_jumps_a_day_ahead_prunes_nothing_too_early(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    real = timezone.now()
    scan(0)
    for days in (89.5, 89):
        row = scan(0)
        Scan.objects.filter(pk=row.pk).update(started_at=real - days * DAY)
    scan(0)
    tasks.prune()
    monkeypatch.setattr(timezone, "now", lambda: real + DAY)

    tasks.prune()

    assert Scan.objects.count() == 4
