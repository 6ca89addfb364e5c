"""A machine that somebody describes in a file, as `manage.py hardware --json` prints one."""

import json
from pathlib import Path
from typing import Any, Final

from servers_app.errors import NoHardwareError
from servers_app.hardware import Gpu, Hardware

MAX_BYTES: Final = 2**20
MOST: Final = 2**53  # of anything: no machine has more, and it is exact as a float
MAX_NAME_CHARS: Final = 200
_NUMBERS: Final = ("total_bytes", "available_bytes", "physical_cores", "logical_cores")


def read_described(path: Path) -> Hardware:
    """Read a file of JSON: an object with total_bytes at the least.

    What it does not say of the cores is taken for one; of free memory, for all of it.

    Raises:
        NoHardwareError: it cannot be read, or describes no machine.
    """
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(MAX_BYTES))
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}. Name a file of `hardware --json`."
        raise NoHardwareError(msg) from error
    except (ValueError, RecursionError) as error:
        raise _no_machine(path, "it is no JSON") from error
    if isinstance(told, dict) and isinstance(told.get("hardware"), dict):
        told = told["hardware"]
    if not isinstance(told, dict):
        raise _no_machine(path, "it is no object")
    return _hardware(path, {"available_bytes": told.get("total_bytes", 1), **told})


def _hardware(path: Path, told: dict[str, Any]) -> Hardware:
    for name in _NUMBERS:
        value = told.get(name, 1)
        if not _is_whole(value) or not 1 <= value <= MOST:
            raise _no_machine(path, f"{name} is a whole number from 1 to {MOST}")
    try:
        hardware = Hardware.from_json(told)
    except (TypeError, AttributeError, ValueError) as error:
        raise _no_machine(path, "something in it is not what it should be") from error
    if hardware is None:
        raise _no_machine(path, "total_bytes is missing")
    for value in (hardware.cpu_limit or 0, hardware.memory_bandwidth_bytes_per_s or 0):
        if not _is_amount(value):
            raise _no_machine(path, "an amount in it is no number")
    if not all(map(_is_gpu, hardware.gpus)):
        raise _no_machine(path, "a GPU in it has no name, or not whole numbers of bytes")
    return hardware


def _is_gpu(gpu: Gpu) -> bool:
    name: object = gpu.name
    is_name = isinstance(name, str) and name.isprintable() and len(name) <= MAX_NAME_CHARS
    amounts = (gpu.total_bytes, gpu.free_bytes)
    return is_name and all(_is_whole(value) and 0 <= value <= MOST for value in amounts)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_amount(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value <= MOST  # NaN is not


def _no_machine(path: Path, why: str) -> NoHardwareError:
    msg = f"{path} describes no machine: {why}. `manage.py hardware --json` prints one."
    return NoHardwareError(msg)
