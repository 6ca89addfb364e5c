"""Which llama-server is run: the one configured, one on PATH, or the embedded one.

A profile may choose another by its name in LLAMA_SERVER_BUILDS, and by nothing else: who
may edit a profile may not choose a program to run.
"""

import os
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from django.conf import settings

from profiles_app.engines import EMBEDDED, engines_here
from servers_app.errors import EngineError


@dataclass(frozen=True, slots=True)
class Engine:
    """A program that understands llama-server's flags."""

    command: tuple[str, ...]  # argv up to the first flag
    cwd: Path | None = None  # where it must run, if anywhere
    name: str = ""  # as profiles call it; empty for this machine's default

    @property
    def is_embedded(self) -> bool:
        return self.cwd is not None

    def __str__(self) -> str:
        return "embedded llama.cpp" if self.is_embedded else self.command[0]


def find_engine(name: str = "") -> Engine:
    """Return the engine called `name`, or the one this machine launches servers with.

    Raises:
        EngineError: no engine is called so, what is configured cannot be run, or there is
            no llama-server at all. The message says what to do.
    """
    if name == EMBEDDED:
        return _embedded(name)
    if not name:
        return _default()
    if name not in engines_here():
        msg = (
            f"Node {settings.MAGI_NODE} has no engine '{name}'. Available: "
            f"{', '.join(sorted(engines_here()))}; its LLAMA_SERVER_BUILDS names more."
        )
        raise EngineError(msg)
    path: Path = settings.LLAMA_SERVER_BUILDS[name]
    return Engine((_program(path, f"LLAMA_SERVER_BUILDS: {name}={path}"),), name=name)


def _default() -> Engine:
    configured: str = settings.LLAMA_SERVER_PATH
    if configured == EMBEDDED:
        return _embedded("")
    if configured:
        path = Path(configured).expanduser().absolute()
        return Engine((_program(path, f"LLAMA_SERVER_PATH={configured}"),))
    if found := shutil.which("llama-server"):
        return Engine((str(Path(found).absolute()),))
    return _embedded("")


def _program(path: Path, configured: str) -> str:
    """Return the path of a program; `configured` is how messages call it."""
    if not os.access(path, os.F_OK):
        msg = f"{configured} is not there. Correct the path, or take it off."
        raise EngineError(msg)
    if not path.is_file() or not os.access(path, os.X_OK):
        msg = (
            f"{configured} is not a program that can be run. Give the path of llama-server "
            "itself, and make it executable: chmod +x."
        )
        raise EngineError(msg)
    return str(path)


def _embedded(name: str) -> Engine:
    if find_spec("xllamacpp") is None:
        msg = "There is no llama-server: set LLAMA_SERVER_PATH, or pip install xllamacpp."
        raise EngineError(msg)
    return Engine(
        (sys.executable, "-m", "servers_app.engine.embedded"),
        cwd=Path(settings.BASE_DIR),
        name=name,
    )
