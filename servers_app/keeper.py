"""Start one llama-server, be its parent, and write down how it ended.

    python -I -S servers_app/keeper.py RUN_DIR -- COMMAND [ARGUMENT ...]

The keeper outlives whoever launches it: a worker can start a server and die, and a
later worker still learns how the server ended. The launching process exits as soon as
the server runs: 0, or a status of `LaunchError` with the reason on stderr. The keeper
itself stays, the leader of a session of its own, until the server has ended.

In RUN_DIR, each record written whole or not at all:
    keeper.lock   locked while the keeper or its server lives
    process.json  {"keeper_pid", "pid", "started_at"}
    exit.json     {"pid", "returncode", "ended_at", "max_rss_bytes", "user_seconds",
                  "system_seconds", "oom_kills"}; a negative returncode is a signal's
                  number, and oom_kills how many processes of its cgroup the kernel
                  killed for want of memory while it ran, 0 where that cannot be read
Times are Unix times in seconds. SIGTERM, SIGINT or SIGHUP to the keeper stops the
server. Standard library only: it runs under -I -S, where nothing of ours is found.
"""

import ctypes
import errno
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from resource import struct_rusage
from types import FrameType
from typing import Final, NoReturn

LOCK: Final = "keeper.lock"
PROCESS_RECORD: Final = "process.json"
EXIT_RECORD: Final = "exit.json"

# What a shell answers; the other statuses are those of <sysexits.h>.
CANNOT_RUN: Final = 126
NOT_FOUND: Final = 127

STOP_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
AWAITED_SIGNALS: Final = STOP_SIGNALS | {signal.SIGCHLD}

# <linux/prctl.h>
PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36

# Lines of hierarchy:controllers:path, and where the hierarchies usually are.
# https://docs.kernel.org/admin-guide/cgroup-v2.html, and cgroup-v1/memory.html beside it.
CGROUP_MEMBERSHIP: Final = "/proc/self/cgroup"
CGROUP_ROOT: Final = "/sys/fs/cgroup"

# How long exit.json may be. So much of the disk is taken before the server runs: when it ends,
# the disk may be full, by its own log perhaps.
RESERVED_BYTES: Final = 1024

RSS_UNIT_BYTES: Final = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss


class LaunchError(Exception):
    """The server was not started. `status` is how the launching process exits.

    64  the command line is wrong
    71  the system has no process to spare
    73  RUN_DIR cannot be used
    74  process.json, or room for exit.json, cannot be written
    75  RUN_DIR has a keeper already, or a server whose keeper was killed
    126 COMMAND cannot be run
    127 COMMAND does not exist
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def main(arguments: list[str]) -> int:
    """Fork the keeper, wait until its server runs, and return the exit status."""
    _settle_descriptors()
    if len(arguments) < 3 or arguments[1] != "--":
        _say("usage: keeper.py RUN_DIR -- COMMAND [ARGUMENT ...]")
        return os.EX_USAGE
    try:
        directory = _open_and_lock(arguments[0])
        answer, told = os.pipe()
        # Blocked from before the fork, so that no signal finds a keeper half made.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED_SIGNALS)
        if _fork() == 0:
            os.close(answer)
            os._exit(_keep(directory, arguments[2:], told))
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    except LaunchError as error:
        _say(str(error))
        return error.status
    os.close(told)
    return _await_answer(answer)


def _settle_descriptors() -> None:
    """Leave stdin at /dev/null, stdout and stderr as they are, and close the rest."""
    for descriptor in [int(entry.name) for entry in os.scandir("/dev/fd")]:
        if descriptor > 2:
            with suppress(OSError):  # the listing's own is closed by now
                os.close(descriptor)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    for descriptor in (1, 2):
        try:
            _share(descriptor)
        except OSError:  # we were started without it
            os.dup2(null, descriptor)
    if null > 2:
        os.close(null)


def _open_and_lock(run_dir: str) -> int:
    """Return a descriptor of `run_dir`, whose lock this process now holds.

    The server inherits the lock. So there is no second server while the first still
    dies after its keeper was killed, or lives on (macOS has no PR_SET_PDEATHSIG).
    """
    try:
        directory = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY)
        lock = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600, dir_fd=directory)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        msg = f"{run_dir} has a keeper already"
        raise LaunchError(os.EX_TEMPFAIL, msg) from error
    except OSError as error:
        msg = f"cannot use {run_dir}: {error.strerror}"
        raise LaunchError(os.EX_CANTCREAT, msg) from error
    _share(lock)
    return directory


def _share(descriptor: int) -> None:
    """Let the server have `descriptor`: not close-on-exec."""
    fcntl.fcntl(descriptor, fcntl.F_SETFD, 0)


def _await_answer(answer: int) -> int:
    """Return the status that the keeper tells, as soon as it does."""
    with os.fdopen(answer) as pipe:
        status = pipe.read()
    if not status:
        _say("the keeper died before its server ran")
        return os.EX_SOFTWARE
    return int(status)


def _keep(directory: int, command: list[str], told: int) -> int:
    """Be the keeper: start the server, answer, and stay until it has ended."""
    os.setsid()
    for number in AWAITED_SIGNALS:
        # Inherited as ignored, SIGCHLD would lose the exit status, and a system
        # may drop an ignored signal even while it is blocked and awaited.
        signal.signal(number, _note)
    if sys.platform == "linux":
        # What the server leaves behind comes to us, not to a PID 1 that may not reap.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    oom_kills = _oom_kills()
    try:
        pid = _start(directory, command)
    except LaunchError as error:
        _say(str(error))
        _tell(told, error.status)
        return error.status
    _tell(told, os.EX_OK)
    returncode, usage = _wait(pid)
    record = {
        "pid": pid,
        "returncode": returncode,
        "ended_at": time.time(),
        "max_rss_bytes": usage.ru_maxrss * RSS_UNIT_BYTES,
        "user_seconds": usage.ru_utime,
        "system_seconds": usage.ru_stime,
        "oom_kills": max(0, _oom_kills() - oom_kills),
    }
    # Whatever the server started and left in our group; it is blocked in ourselves.
    os.killpg(0, signal.SIGTERM)
    for _ in _reap():
        pass
    # Last, because who reads it may launch the next server at once.
    try:
        _write(directory, EXIT_RECORD, record)
    except OSError as error:
        _say(f"cannot write {EXIT_RECORD}: {error.strerror}")
        return os.EX_IOERR
    return os.EX_OK


def _start(directory: int, command: list[str]) -> int:
    """Start the server, record it, and return its pid.

    Raises:
        LaunchError: it could not be started or recorded; then none is left.
    """
    _forget(directory)
    keeper_pid = os.getpid()
    failure, failed = os.pipe()  # closed by a successful exec
    started_at = time.time()
    pid = _fork()
    if pid == 0:
        _become(command, keeper_pid, failed)
    os.close(failed)
    with os.fdopen(failure) as pipe:
        error_number = pipe.read()
    if error_number:
        os.waitpid(pid, 0)
        number = int(error_number)
        msg = f"cannot run {command[0]}: {os.strerror(number)}"
        raise LaunchError(NOT_FOUND if number == errno.ENOENT else CANNOT_RUN, msg)
    record = {"keeper_pid": keeper_pid, "pid": pid, "started_at": started_at}
    name = EXIT_RECORD
    try:
        _reserve(directory, name)
        name = PROCESS_RECORD
        _write(directory, name, record)
    except OSError as error:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        msg = f"cannot write {name}: {error.strerror}"
        raise LaunchError(os.EX_IOERR, msg) from error
    return pid


def _forget(directory: int) -> None:
    """Remove the records of an earlier launch."""
    for name in (PROCESS_RECORD, EXIT_RECORD):
        try:
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            msg = f"cannot remove {name}: {error.strerror}"
            raise LaunchError(os.EX_CANTCREAT, msg) from error


def _become(command: list[str], keeper_pid: int, failed: int) -> NoReturn:
    """Turn this fork of the keeper into the server, or write why not to `failed`."""
    try:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != keeper_pid:  # it was killed before the line above
                os._exit(CANNOT_RUN)
        for number in signal.valid_signals():
            with suppress(OSError):  # SIGKILL and SIGSTOP
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        # A shell is what it must not be.
        os.execvp(command[0], command)  # noqa: S606  # nosec B606
    except OSError as error:
        os.write(failed, str(error.errno).encode())
    finally:
        os._exit(CANNOT_RUN)


def _wait(pid: int) -> tuple[int, struct_rusage]:
    """Sleep until the server has ended; return its returncode and what it used.

    It is told to stop once: a second SIGTERM makes llama-server drop everything.
    """
    is_told = False
    while True:
        if signal.sigwait(AWAITED_SIGNALS) in STOP_SIGNALS:
            if not is_told:
                os.kill(pid, signal.SIGTERM)
            is_told = True
            continue
        for reaped, status, usage in _reap():
            if reaped == pid:
                return os.waitstatus_to_exitcode(status), usage


def _reap() -> Iterator[tuple[int, int, struct_rusage]]:
    """Yield the pid, status and usage of every child that has ended; never wait."""
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status, usage


def _oom_kills(membership: str = CGROUP_MEMBERSHIP, root: str = CGROUP_ROOT) -> int:
    """Return how many processes of our cgroup the kernel has ever killed for memory.

    Version 2 counts them in memory.events, version 1 in memory.oom_control, both in a
    line `oom_kill N` (Linux 4.13). A group that has none is counted with what it is in.
    """
    with suppress(OSError, ValueError), open(membership) as lines:  # noqa: PTH123
        for line in lines:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if controllers == "":
                name, base = "memory.events", root
            elif "memory" in controllers.split(","):
                name, base = "memory.oom_control", f"{root}/memory"
            else:
                continue
            while True:
                with suppress(OSError), open(f"{base}{path}/{name}") as file:  # noqa: PTH123
                    return int(dict(map(str.split, file)).get("oom_kill", "0"))
                if path.strip("/") == "":
                    break
                path = path.rpartition("/")[0]
    return 0


def _fork() -> int:
    try:
        return os.fork()
    except OSError as error:
        msg = f"cannot fork: {error.strerror}"
        raise LaunchError(os.EX_OSERR, msg) from error


def _write(directory: int, name: str, record: Mapping[str, float]) -> None:
    """Write `record` so that a reader finds all of it, or the file that was there.

    What `_reserve` has taken of the disk is written over, and takes no more.
    """
    temporary = f"{name}.tmp"
    text = json.dumps(record).encode().ljust(RESERVED_BYTES)
    flags = os.O_WRONLY | os.O_CREAT
    with os.fdopen(os.open(temporary, flags, 0o644, dir_fd=directory), "wb") as file:
        file.write(text)
        file.truncate()  # to where it ends now
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)


def _reserve(directory: int, name: str) -> None:
    """Take as much of the disk as `_write` will need for `name`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    file = os.open(f"{name}.tmp", flags, 0o644, dir_fd=directory)
    try:
        # Not zeros, of which some file systems keep nothing.
        os.write(file, os.urandom(RESERVED_BYTES))
        os.fsync(file)
    finally:
        os.close(file)


def _tell(told: int, status: int) -> None:
    with suppress(OSError):  # the launching process may have been killed
        os.write(told, str(status).encode())
    os.close(told)


def _say(message: str) -> None:
    with suppress(OSError):  # stderr may be a full disk or a pipe nobody reads
        os.write(2, f"{message}\n".encode(errors="surrogateescape"))


def _note(number: int, frame: FrameType | None) -> None:
    """Handle nothing: the signal is blocked and taken by sigwait()."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
