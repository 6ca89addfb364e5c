"""Run a module of this folder in namespaces of its own, where it may make hosts.

It is process 1 there: when it ends, however it ends, the kernel ends whatever it started and
takes its networks away. Who is not root is root there.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from django.conf import settings

from tests.cluster.hosts import start_switch

PATIENCE_S = 600  # a watchdog, far above what anything takes


def run_alone(module: str, *arguments: object) -> None:
    """Run `python -m tests.cluster.MODULE ARGUMENTS`; what it asserts must hold."""
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    done = subprocess.run(
        [
            *("unshare", *as_root, "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *(sys.executable, "-m", f"tests.cluster.{module}", *map(str, arguments)),
        ],
        cwd=settings.BASE_DIR,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def as_process_1(scenario: Callable[[Path, Path], None]) -> None:
    """Play `scenario(folder, model)` of the command line; reap whoever is left an orphan."""
    child = os.fork()
    if child == 0:
        folder, model = map(Path, sys.argv[1:])
        start_switch()
        scenario(folder, model)
        return
    while True:
        pid, status = os.wait()
        if pid == child:
            sys.exit(os.waitstatus_to_exitcode(status))
