import subprocess
import sys
import time
from pathlib import Path

import pytest
from pytest_django import Settings

from models_app.locks import forget_lock, locks_from_before, node_lock

HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def run_dir(settings: Settings, tmp_path: Path) -> Path:
    settings.MAGI_RUN_DIR = tmp_path
    return tmp_path


def test_one_holder_at_a_time() -> None:
    with node_lock("rescan") as first, node_lock("rescan") as second:
        assert (first, second) == (True, False)

    with node_lock("rescan") as third:
        assert third


def test_other_names_are_other_locks() -> None:
    with node_lock("server-1") as first, node_lock("server-2") as second:
        assert (first, second) == (True, True)


def test_a_lock_goes_with_a_holder_that_is_killed(run_dir: Path) -> None:
    with node_lock("rescan"):
        pass
    path = run_dir / "locks" / "rescan.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with node_lock("rescan") as held:
        assert not held

    holder.kill()
    holder.communicate()

    with node_lock("rescan") as held:
        assert held


def test_who_waits_may_give_up() -> None:
    answers = iter([True, True, False])

    with node_lock("rescan"), node_lock("rescan", wait=lambda: next(answers)) as held:
        assert not held

    assert list(answers) == []


def test_who_waits_for_a_lock_that_is_forgotten_meanwhile_excludes_who_comes_later(
    run_dir: Path,
) -> None:
    path = run_dir / "locks" / "server-1.lock"

    def forgotten() -> bool:
        path.unlink()  # by who holds it
        first.__exit__(None, None, None)
        return True

    first = node_lock("server-1")
    first.__enter__()
    with node_lock("server-1", wait=forgotten) as second, node_lock("server-1") as third:
        assert (second, third) == (True, False)


def test_a_lock_is_forgotten_unless_somebody_holds_it(run_dir: Path) -> None:
    with node_lock("server-1"):
        assert not forget_lock("server-1")
    assert locks_from_before(time.time() + 60) == ["server-1"]

    assert forget_lock("server-1")

    assert not list((run_dir / "locks").iterdir())
    assert locks_from_before(time.time() + 60) == []
