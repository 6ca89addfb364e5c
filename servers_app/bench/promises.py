"""What the ledger of memory has to know of servers that have no row.

They are those that are launched for a measurement (private.py). Each has a number that no
row will have, and with it a folder, a key and a lock like any server. Who measures holds the
lock of the number for as long. What it was promised of the memory lies in the folder.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Final

from models_app.locks import node_lock
from servers_app import launcher

NUMBERS: Final = range(9_000_000_000_000_000, 9_000_000_000_000_008)  # rows count from 1
_FILE: Final = "promise.json"


@dataclass(frozen=True, slots=True)
class Promise:
    """What a private server was admitted with, MiB."""

    name: str
    ram_mib: int
    vram_mib: int


def lock_of(number: int) -> str:
    """Return the name of the lock that every server has, as the supervisor calls it."""
    return f"server-{number}"


def promise(number: int, promised: Promise) -> None:
    """Have a private server counted from now on; call it with the lock of the memory."""
    folder = launcher.server_dir(number)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = folder / f"{_FILE}.tmp"
    temporary.write_text(json.dumps(asdict(promised)))
    temporary.replace(folder / _FILE)


def promises() -> dict[int, Promise]:
    """Return what is promised on this machine; where nothing is, it costs eight looks."""
    found = {}
    for number in NUMBERS:
        path = launcher.server_dir(number) / _FILE
        with suppress(OSError, ValueError, TypeError):
            promised = Promise(**json.loads(path.read_text()))
            if _is_in_use(number):
                found[number] = promised
    return found


def _is_in_use(number: int) -> bool:
    """Whether somebody measures with it, or its server has outlived who did."""
    with node_lock(lock_of(number)) as held:
        return not held or launcher.is_kept(number)
