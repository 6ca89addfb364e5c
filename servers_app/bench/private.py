"""Numbers for llama-servers that only a measurement has, and their end.

No row knows them, so no request comes to them. When the process that measures dies, however
it dies, the kernel drops its lock, and the next sweep of the node's worker finds a server that
no row knows, and ends it; so does the next measurement.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from models_app.locks import node_lock
from servers_app import launcher, processes
from servers_app.bench.promises import NUMBERS, lock_of
from servers_app.errors import BenchmarkError, LaunchError
from servers_app.processes import ProcessIdentity
from servers_app.supervisor.stopping import KEEPER_GRACE_S, STOP_GRACE_S, is_gone


@contextmanager
def reserved() -> Iterator[int]:
    """Give the number of a private server; what runs under it at the end is ended.

    Raises:
        BenchmarkError: every number is in use.
    """
    for number in NUMBERS:
        with node_lock(lock_of(number)) as held:
            if not held:
                continue
            forget(number)  # what a process left that died
            try:
                yield number
            finally:
                forget(number)
            return
    msg = f"{len(NUMBERS)} models are being measured on this node. Wait for one of them."
    raise BenchmarkError(msg)


def end_left() -> None:
    """End every private server that nobody measures with any more."""
    for number in NUMBERS:
        with node_lock(lock_of(number)) as held:
            if held:
                forget(number)


def forget(number: int) -> None:
    """End a private server, and remove its folder."""
    folder = launcher.server_dir(number)
    if folder.is_dir():
        end(number)
        shutil.rmtree(folder, ignore_errors=True)


def end(number: int) -> launcher.Exit | None:
    """End a private server, if one runs; return how it ended, if that is known."""
    try:
        kept = launcher.read_kept(number)
    except LaunchError:
        return None  # nothing was launched
    boot = processes.boot_id()
    if kept.started_at is not None:
        server = ProcessIdentity(kept.pid, kept.started_at, boot)
        processes.terminate(server)
        if not is_gone(server, within=STOP_GRACE_S):
            processes.kill(server)
    if kept.keeper_started_at is not None:
        keeper = ProcessIdentity(kept.keeper_pid, kept.keeper_started_at, boot)
        if not is_gone(keeper, within=KEEPER_GRACE_S):
            processes.kill_group(keeper)
            is_gone(keeper, within=KEEPER_GRACE_S)
    with suppress(ValueError, KeyError):
        return launcher.read_exit(number, kept.pid)
    return None
