"""Ports that a test hands to a process of its own.

Asking the system for any port gives one of those that outgoing connections have, and a
connection of another test may get it before the process binds it. These are of below that
range (from 32768 on Linux), and each worker of the test run has a part of its own.
"""

import os
import random
import re
import socket
from collections.abc import Iterator

HOST = "127.0.0.1"
FIRST, PER_WORKER, WORKERS = 12_000, 2_500, 8


def free_port() -> int:
    """Return a port that nobody listens on, and that is not offered again soon."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """Return the first of `count` ports in a row that nobody listens on."""
    found: list[int] = []
    while len(found) < count:
        port = next(_ports)
        is_next = not found or port == found[-1] + 1
        found = [*(found if is_next else []), port] if _is_free(port) else []
    return found[0]


def _offered() -> Iterator[int]:
    worker = int("0" + re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")))
    first = FIRST + worker % WORKERS * PER_WORKER
    turn = random.randrange(PER_WORKER)  # so that two runs at once seldom meet
    while True:
        yield first + turn % PER_WORKER
        turn += 1


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


_ports = _offered()
