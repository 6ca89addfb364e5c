"""What each llama-server of this node can do: asked once, and again when its file changes."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings

from profiles_app.engines import EMBEDDED
from servers_app.engine.asking import ask
from servers_app.engine.binary import Engine
from servers_app.engine.capabilities import (
    Capabilities,
    Device,
    Version,
    parse_devices,
    parse_help,
    parse_version,
)
from servers_app.errors import EngineError
from servers_app.models import EngineBuild

EMBEDDED_ENGINE = Path(__file__).with_name("embedded.py")
# Of every llama-server, whatever its build: what lacks one of them is something else.
ESSENTIAL = ("--model", "--host", "--port", "--ctx-size", "--parallel")


class _File(NamedTuple):
    """A program as it lies on the disk; another size or time is another program."""

    node: str
    path: str
    size_bytes: int
    mtime_ns: int
    wheel: str = ""  # the embedded engine is a wheel, and a launcher of ours


_BLANK: Mapping[str, Any] = {
    "version": "", "build": None, "commit": "", "flags": {}, "devices": [], "problem": ""
}  # fmt: skip

_known: dict[_File, Capabilities] = {}
_one_asks = threading.Lock()


def capabilities(engine: Engine) -> Capabilities:
    """Return what `engine` can do, as it says itself.

    It is run the first time, two or three times for tens of milliseconds. Then it is
    remembered: by this process, which costs a stat, and by the database for all of the node.

    Raises:
        EngineError: it has gone, cannot be run, or does not answer like a llama-server. That
            is written down for people to read, and asked again the next time.
    """
    file = _file(engine)
    known = _known.get(file) or _remembered(file) or _asked(engine, file)
    _known[file] = known
    return known


def ask_devices(engine: Engine) -> list[Device]:
    """Ask `engine` for its devices again: a driver may have come or gone since.

    Raises:
        EngineError: as `capabilities`.
    """
    file, known = _file(engine), capabilities(engine)
    if "--list-devices" not in known.flags:
        return []
    try:
        devices = parse_devices(ask(engine, "--list-devices").stdout)
    except EngineError as error:
        _known.pop(file, None)
        _remember(file, problem=str(error))
        raise
    _known[file] = replace(known, devices=devices)
    EngineBuild.objects.filter(node=file.node, path=file.path).update(
        devices=[device._asdict() for device in devices]
    )
    return devices


def ask_version(engine: Engine) -> Version:
    """Ask `engine` which build it is; nothing is remembered.

    Raises:
        EngineError: as `capabilities`.
    """
    answer = ask(engine, "--version")
    return parse_version(f"{answer.stderr}\n{answer.stdout}")  # stderr, up to now


def _file(engine: Engine) -> _File:
    path = EMBEDDED_ENGINE if engine.is_embedded else Path(engine.command[0])
    try:
        stat = path.stat()
        wheel = version("xllamacpp") if engine.is_embedded else ""
    except (OSError, PackageNotFoundError) as error:
        msg = f"{engine} has gone ({error}). Install it again, or choose another engine."
        raise EngineError(msg) from error
    name = EMBEDDED if engine.is_embedded else str(path)
    return _File(settings.MAGI_NODE, name, stat.st_size, stat.st_mtime_ns, wheel)


def _remembered(file: _File) -> Capabilities | None:
    row = EngineBuild.objects.filter(
        node=file.node,
        path=file.path,
        size_bytes=file.size_bytes,
        mtime_ns=file.mtime_ns,
        problem="",
        version__startswith=file.wheel,  # its --version begins with the wheel's
    ).first()
    return None if row is None else as_remembered(row)


def as_remembered(row: EngineBuild) -> Capabilities:
    """Return what an engine said that it can do, on whichever node; nothing is run."""
    return Capabilities(
        path=row.path,
        version=Version(row.version, row.build, row.commit),
        flags=row.flags,
        devices=[Device(**device) for device in row.devices],
    )


def _asked(engine: Engine, file: _File) -> Capabilities:
    try:
        with _one_asks:
            if (known := _known.get(file)) is not None:
                return known
            known = _known[file] = _ask_all(engine, file.path)
    except EngineError as error:
        _remember(file, problem=str(error))
        raise
    # Not under the lock: whoever waits for that may hold the database.
    _remember(
        file,
        version=known.version.text,
        build=known.version.build,
        commit=known.version.commit,
        flags=dict(known.flags),
        devices=[device._asdict() for device in known.devices],
    )
    return known


def _ask_all(engine: Engine, path: str) -> Capabilities:
    flags = parse_help(ask(engine, "--help").stdout)
    if missing := [flag for flag in ESSENTIAL if flag not in flags]:
        msg = (
            f"Asked for its --help, {engine} did not answer like a llama-server: it lists no "
            f"{', '.join(missing)}. Set LLAMA_SERVER_PATH, or the profile's engine, to one."
        )
        raise EngineError(msg)
    devices = ask(engine, "--list-devices").stdout if "--list-devices" in flags else ""
    return Capabilities(path, ask_version(engine), flags, parse_devices(devices))


def _remember(file: _File, **columns: Any) -> None:
    size = {"size_bytes": file.size_bytes, "mtime_ns": file.mtime_ns}
    EngineBuild.objects.update_or_create(
        node=file.node, path=file.path, defaults={**_BLANK, **size, **columns}
    )
