"""That the keeper counts the kernel's OOM kills, in the layouts that cgroups come in."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pytest_django import Settings

from servers_app import keeper, launcher

V2_EVENTS = "low 0\nhigh 0\nmax 31\noom 2\noom_kill 2\noom_group_kill 0\n"
V1_CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
HYBRID = "9:name=systemd:/\n4:memory:/process_api/75\n1:cpu:/\n0::/\n"

# The keeper, with a kernel that counted two more the second time it is asked.
COUNTED = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import keeper
counts = iter([5, 7])
keeper._oom_kills = lambda: next(counts)
sys.exit(keeper.main(sys.argv[1:]))
"""
WATCHDOG_S = 60


@pytest.fixture
def membership(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


@pytest.mark.parametrize(
    ("lines", "file", "content", "count"),
    [
        pytest.param("0::/", "memory.events", V2_EVENTS, 2, id="in a container of version 2"),
        pytest.param(
            "0::/system.slice/magi.service",
            "system.slice/magi.service/memory.events",
            V2_EVENTS,
            2,
            id="in a service",
        ),
        pytest.param(
            "0::/user.slice/session-1.scope/a",
            "user.slice/memory.events",
            V2_EVENTS,
            2,
            id="counted only further up",
        ),
        pytest.param(
            HYBRID,
            "memory/process_api/75/memory.oom_control",
            V1_CONTROL,
            3,
            id="both versions",
        ),
        pytest.param(
            "4:cpu,memory:/docker/3f",
            "memory/memory.oom_control",
            V1_CONTROL,
            3,
            id="in a container of version 1, by the host's path",
        ),
        pytest.param(HYBRID, "memory/memory.oom_control", "under_oom 0\n", 0, id="before 4.13"),
        pytest.param(HYBRID, "memory/memory.oom_control", "of another kind", 0, id="unknown"),
        pytest.param("not three parts", "memory.events", V2_EVENTS, 0, id="no membership"),
        pytest.param("0::/", "cgroup.procs", "1", 0, id="no memory controller"),
        pytest.param("", "memory.events", V2_EVENTS, 0, id="no cgroup"),
    ],
)
def test_kills_are_counted_where_the_kernel_counts_them(
    tmp_path: Path, membership: Path, lines: str, file: str, content: str, count: int
) -> None:
    membership.write_text(lines)
    path = tmp_path / "sys" / file
    path.parent.mkdir(parents=True)
    path.write_text(content)

    assert keeper._oom_kills(str(membership), str(tmp_path / "sys")) == count


def test_none_are_counted_where_there_are_no_cgroups(tmp_path: Path) -> None:
    assert keeper._oom_kills(str(tmp_path / "cgroup"), str(tmp_path)) == 0


@pytest.mark.parametrize(
    ("program", "count"),
    [
        pytest.param([keeper.__file__], 0, id="by the real kernel"),
        pytest.param(["-c", COUNTED, str(Path(keeper.__file__).parent)], 2, id="by another"),
    ],
)
def test_only_the_kills_while_the_server_ran_are_written_down(
    tmp_path: Path, program: list[str], count: int
) -> None:
    server = [sys.executable, "-c", ""]

    subprocess.run(
        [sys.executable, "-I", "-S", *program, str(tmp_path), "--", *server],
        timeout=WATCHDOG_S,
        check=True,
    )

    deadline = time.monotonic() + WATCHDOG_S
    while not (tmp_path / "exit.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    record = json.loads((tmp_path / "exit.json").read_text())
    assert (record["oom_kills"], record["returncode"]) == (count, 0)


@pytest.mark.parametrize(("record", "count"), [({"oom_kills": 2}, 2), ({}, 0)])
def test_the_launcher_reads_the_count_and_does_without_it(
    settings: Settings, tmp_path: Path, record: dict[str, int], count: int
) -> None:
    settings.MAGI_DATA_DIR = tmp_path
    folder = launcher.server_dir(7)
    folder.mkdir(parents=True)
    whole = {"pid": 5, "returncode": -9, "ended_at": 1.0, "max_rss_bytes": 1, **record}
    (folder / "exit.json").write_text(json.dumps(whole))

    ended = launcher.read_exit(7, 5)

    assert ended == launcher.Exit(-9, 1.0, 1, count)
