"""The worker's heartbeat: it goes on, it looks after servers when nobody does, it stops."""

import logging
import threading
from collections.abc import Iterator

import pytest
from celery.signals import celeryd_after_setup, worker_ready, worker_shutdown
from django.db import OperationalError, connections

from servers_app import heartbeat, nodes
from servers_app.errors import NodeTakenError
from servers_app.heartbeat import Heartbeat, beat_in_workers
from servers_app.models import Node

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE_S = 30.0  # a watchdog, far above what anything takes


class Clock:
    """Monotonic seconds, which only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def looked() -> threading.Semaphore:
    """Counts how often the servers were looked after."""
    return threading.Semaphore(0)


@pytest.fixture
def heart(clock: Clock, looked: threading.Semaphore) -> Iterator[Heartbeat]:
    heart = Heartbeat(looked.release, clock=clock)
    yield heart
    heart.stop()


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Counts the beats of a heartbeat that does not wait between them for long."""
    monkeypatch.setattr(heartbeat, "PERIOD_S", 0.01)
    counted = threading.Semaphore(0)
    monkeypatch.setattr(nodes, "beat", counted.release)
    return counted


def times(counted: threading.Semaphore) -> int:
    """Return how often something was counted, once no thread of a heartbeat runs on."""
    for thread in threading.enumerate():
        if thread.name == "look-after":
            thread.join(PATIENCE_S)
    number = 0
    while counted.acquire(blocking=False):
        number += 1
    return number


def beating_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


def test_a_beat_is_in_the_database_and_leaves_no_connection_open(heart: Heartbeat) -> None:
    heart.beat()

    assert connections["default"].connection is None
    assert Node.objects.get().is_alive


def test_it_goes_on_beating_in_a_thread_of_its_own(
    heart: Heartbeat, beats: threading.Semaphore
) -> None:
    heart.start()

    for _ in range(3):
        assert beats.acquire(timeout=PATIENCE_S)


def test_starting_it_again_makes_no_second_thread(
    heart: Heartbeat, beats: threading.Semaphore
) -> None:
    heart.start()
    heart.start()

    assert len(beating_threads()) == 1


def test_it_does_not_wait_for_its_next_beat_to_stop(
    heart: Heartbeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "PERIOD_S", PATIENCE_S)
    heart.start()

    heart.stop()

    assert beating_threads() == []


def test_it_survives_a_database_that_is_away_and_logs_the_first_failure_of_a_row(
    heart: Heartbeat, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="servers_app.heartbeat")
    works = iter([False, False, False, True, True, False])

    def beat() -> None:
        if not next(works):
            msg = "connection refused"
            raise OperationalError(msg)

    monkeypatch.setattr(nodes, "beat", beat)

    for _ in range(6):
        heart.beat()

    failed = "The heartbeat failed, and is tried again: connection refused"
    assert caplog.messages == [failed, "The heartbeat works again", failed]


def test_it_survives_a_row_that_is_gone_while_it_beats(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """As where a database is restored under a worker: the next beat makes it anew."""

    def lack() -> None:
        Node.objects.all().delete()
        Node.objects.get()

    heart = Heartbeat(lambda: None, chores={"A chore": lack}, clock=clock)

    heart.beat()
    heart.beat()

    assert len(caplog.messages) == 1
    assert "A chore failed, and is tried again" in caplog.messages[0]


def test_servers_are_looked_after_when_no_reconcile_has_come_for_10_seconds(
    heart: Heartbeat, clock: Clock, looked: threading.Semaphore
) -> None:
    clock.now += 9.9
    heart.beat()
    assert times(looked) == 0

    clock.now += 0.1
    heart.beat()
    heart.beat()
    assert times(looked) == 1

    clock.now += 10
    heart.beat()
    assert times(looked) == 1


def test_a_node_that_reconciles_is_left_alone(
    heart: Heartbeat, clock: Clock, looked: threading.Semaphore
) -> None:
    for _ in range(5):
        clock.now += 9
        heart.reconciled()
        heart.beat()

    assert times(looked) == 0


def test_a_node_without_reconciles_says_so_once(
    heart: Heartbeat,
    clock: Clock,
    looked: threading.Semaphore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(3):
        clock.now += 10
        heart.beat()
        assert times(looked) == 1

    assert caplog.messages == ["No reconcile has come for 10 s: servers are looked after here"]


def test_a_model_that_loads_for_long_holds_up_no_beat_and_is_looked_after_by_one(
    clock: Clock, beats: threading.Semaphore
) -> None:
    is_loaded = threading.Event()
    begun = threading.Semaphore(0)

    def look_after() -> None:
        begun.release()
        is_loaded.wait(PATIENCE_S)

    heart = Heartbeat(look_after, clock=clock)

    for _ in range(3):
        clock.now += 10
        heart.beat()
    is_loaded.set()

    assert times(begun) == 1
    assert times(beats) == 3


def test_nothing_is_done_after_a_beat_that_the_database_did_not_take(
    clock: Clock, looked: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise OperationalError

    done: list[str] = []
    heart = Heartbeat(looked.release, chores={"A chore": lambda: done.append("")}, clock=clock)
    monkeypatch.setattr(nodes, "beat", away)

    clock.now += 100
    heart.beat()
    assert (times(looked), done) == (0, [])

    monkeypatch.setattr(nodes, "beat", lambda: None)
    heart.beat()
    assert (times(looked), done) == (1, [""])


def test_a_chore_that_fails_holds_up_no_other(
    clock: Clock, beats: threading.Semaphore, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        msg = "locked"
        raise OperationalError(msg)

    done: list[str] = []
    chores = {"The first": fail, "The second": lambda: done.append("second")}
    heart = Heartbeat(lambda: None, chores=chores, clock=clock)

    heart.beat()
    heart.beat()

    assert done == ["second", "second"]
    assert caplog.messages == ["The first failed, and is tried again: locked"]


def test_a_worker_whose_name_is_taken_says_so_once_does_nothing_and_ends(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    error = NodeTakenError("box2", "10.0.0.7")

    def taken() -> None:
        raise error

    done: list[str] = []
    heart = Heartbeat(
        lambda: done.append("looked after"),
        chores={"A chore": lambda: done.append("chore")},
        clock=clock,
        when_taken=lambda: done.append("ended"),
    )
    monkeypatch.setattr(nodes, "beat", taken)

    for _ in range(3):
        clock.now += 100
        heart.beat()

    assert done == ["ended"]
    (message,) = caplog.messages
    assert message.startswith("Another worker is node box2 already, at 10.0.0.7")


def test_only_who_has_beaten_for_20_seconds_is_steady(
    heart: Heartbeat, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    was_silent = iter([True, False, False, None, False, True, False])

    def beat() -> bool:
        answer = next(was_silent)
        if answer is None:
            raise OperationalError
        return answer

    monkeypatch.setattr(nodes, "beat", beat)
    assert not heart.is_steady
    steady = []

    for seconds in (0, 19, 1, 5, 20, 20, 20):
        clock.now += seconds
        heart.beat()
        steady.append(heart.is_steady)

    # the third is steady; the database is away; two new beginnings
    assert steady == [False, False, True, False, False, False, True]


def test_looking_after_servers_survives_a_database_that_is_away(
    clock: Clock, beats: threading.Semaphore, caplog: pytest.LogCaptureFixture
) -> None:
    def look_after() -> None:
        tried.release()
        msg = "connection refused"
        raise OperationalError(msg)

    tried = threading.Semaphore(0)
    heart = Heartbeat(look_after, clock=clock)

    for _ in range(2):
        clock.now += 10
        heart.beat()
        assert times(tried) == 1

    (message,) = [text for text in caplog.messages if text.startswith("Looking after")]
    assert message == (
        "Looking after the servers failed, and is tried again: connection refused"
    )


def test_a_worker_beats_before_it_has_a_broker_and_until_it_ends(
    monkeypatch: pytest.MonkeyPatch, beats: threading.Semaphore
) -> None:
    for signal in (celeryd_after_setup, worker_ready, worker_shutdown):
        monkeypatch.setattr(signal, "receivers", [])
    left: list[int] = []
    monkeypatch.setattr(nodes, "leave", lambda: left.append(len(beating_threads())))
    heart = beat_in_workers(lambda: None, {})
    assert beating_threads() == [], "no other process that imports it beats"

    celeryd_after_setup.send(sender="local@box")
    worker_ready.send(sender=None)
    assert beats.acquire(timeout=PATIENCE_S)
    assert len(beating_threads()) == 1

    worker_shutdown.send(sender=None)
    assert beating_threads() == []
    assert left == [0], "after its last beat"
    heart.stop()
