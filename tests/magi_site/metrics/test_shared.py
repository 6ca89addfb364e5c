"""The counts of web processes that share a folder, come, end, and are killed."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.conf import settings

from magi_site.metrics import shared
from magi_site.metrics.shared import SharedCounts
from servers_app.gateway.gauges import Gauges
from servers_app.gateway.metrics import Counts, Labels, Series

Opened = Callable[..., SharedCounts]
QWEN = Labels("qwen", "fast", "ok")
HOLD = """
import sys
from pathlib import Path
from magi_site.metrics.shared import SharedCounts
counts = SharedCounts(Path(sys.argv[1]))
counts.open()
counts.write({"format": 1, "series": [], "errors": {"queue_full": 5}, "retries": {}},
             {"in_flight": {"qwen": 9}, "queued": {}, "loading": {}, "breakers": []})
print("written", flush=True)
sys.stdin.read()
"""


def counted(requests: int) -> dict[str, object]:
    counts = Counts()
    series = counts.series[QWEN] = Series()
    series.requests = requests
    return counts.as_json()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Return a function that gives what a process has counted; all have ended in the end."""
    processes: list[SharedCounts] = []

    def open_one(requests: int, in_flight: int = 0) -> SharedCounts:
        process = SharedCounts(tmp_path)
        processes.append(process)
        process.open()
        process.write(counted(requests), Gauges(in_flight={"qwen": in_flight}).as_json())
        return process

    yield open_one
    for process in processes:
        process.close()


def requests_in(process: SharedCounts) -> int:
    return process.read().counts.series[QWEN].requests


def test_each_process_tells_what_all_have_counted(opened: Opened) -> None:
    one, other = opened(2, in_flight=1), opened(3, in_flight=4)

    told = [process.read() for process in (one, other)]

    assert [each.counts.series[QWEN].requests for each in told] == [5, 5]
    assert sorted(gauges.in_flight["qwen"] for gauges in told[0].gauges) == [1, 4]


def test_of_a_process_that_ended_the_counts_stay_and_the_gauges_go(opened: Opened) -> None:
    one, other = opened(2), opened(3, in_flight=4)

    other.close()

    assert [requests_in(one), requests_in(one)] == [5, 5]
    assert [gauges.in_flight["qwen"] for gauges in one.read().gauges] == [0]


def test_a_process_that_is_killed_is_one_that_ended(tmp_path: Path, opened: Opened) -> None:
    one = opened(2)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=settings.BASE_DIR,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        while_it_lives = one.read()
        process.kill()

    assert len(while_it_lives.gauges) == 2
    told = one.read()
    assert (told.counts.errors, len(told.gauges)) == ({"queue_full": 5}, 1)


def test_the_files_of_ended_processes_do_not_pile_up(tmp_path: Path, opened: Opened) -> None:
    one = opened(1)

    for _ in range(20):
        opened(1).close()
        one.read()

    assert requests_in(one) == 21
    # Its own two, the sums of the ended, and the lock of who comes and goes.
    assert len(list(tmp_path.iterdir())) == 4


def test_the_first_of_a_new_run_begins_at_nothing(tmp_path: Path, opened: Opened) -> None:
    opened(7).close()
    (tmp_path / "leftover.tmp").write_text("half a file")

    anew = opened(1)

    assert requests_in(anew) == 1
    assert not (tmp_path / "leftover.tmp").exists()


def test_who_begins_anew_keeps_the_lock_that_others_wait_for(
    tmp_path: Path, opened: Opened
) -> None:
    opened(7).close()
    lock = tmp_path / f"{shared.MERGING}.lock"
    before = lock.stat().st_ino

    opened(1)

    assert lock.stat().st_ino == before


def test_what_two_threads_of_a_process_write_at_once_is_whole(opened: Opened) -> None:
    one = opened(0)

    def write(requests: int) -> None:
        for _ in range(100):
            one.write(counted(requests), Gauges().as_json())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, [5] * 4))  # none has raised

    assert requests_in(one) == 5


def test_one_that_comes_to_others_leaves_theirs_alone(opened: Opened) -> None:
    one = opened(2)
    opened(3).close()

    newest = opened(4)

    assert [requests_in(one), requests_in(newest)] == [9, 9]


def test_nothing_counts_twice_if_who_adds_is_killed_at_it(
    monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    one = opened(2)
    opened(3).close()
    with monkeypatch.context() as killed:

        def die(_path: Path, *, missing_ok: bool = False) -> None:
            raise KeyboardInterrupt

        killed.setattr(Path, "unlink", die)
        with pytest.raises(KeyboardInterrupt):
            one.read()

    assert requests_in(one) == 5
    assert requests_in(one) == 5


@pytest.mark.parametrize("text", ["", "[]", '{"counts": {"format": 2}}', '{"counts": 7'])
def test_what_cannot_be_read_is_passed_over(text: str, tmp_path: Path, opened: Opened) -> None:
    one, other = opened(2), opened(3)
    (tmp_path / f"{other._id}.json").write_text(text)
    (tmp_path / shared.ENDED).write_text(text)

    assert requests_in(one) == 2


def test_a_process_that_hangs_while_it_adds_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    monkeypatch.setattr(shared, "MERGE_WAIT_S", 0.05)
    one = opened(2)
    opened(3).close()

    with one._merging() as is_alone:
        assert is_alone
        assert requests_in(one) == 2 + 3
    assert not (tmp_path / shared.ENDED).exists()


def test_what_is_written_is_json_and_small(tmp_path: Path, opened: Opened) -> None:
    one = opened(2)

    text = (tmp_path / f"{one._id}.json").read_text()

    assert json.loads(text)["counts"]["series"][0][:4] == [*QWEN, 2]
    assert len(text) < 1000
