"""Which llama-server is run: the one configured, one on PATH, or the embedded one."""

import os
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from django.conf import settings

from servers_app.errors import EngineError


@dataclass(frozen=True, slots=True)
class Engine:
    """A program that understands llama-server's flags."""

    command: tuple[str, ...]  # argv up to the first flag
    cwd: Path | None = None  # where it must run, if anywhere

    @property
    def is_embedded(self) -> bool:
        return self.cwd is not None

    def __str__(self) -> str:
        return "embedded llama.cpp" if self.is_embedded else self.command[0]


def find_engine() -> Engine:
    """Return the engine this machine launches servers with.

    Raises:
        EngineError: LLAMA_SERVER_PATH is set and cannot be run, or there is no
            llama-server at all.
    """
    configured: str = settings.LLAMA_SERVER_PATH
    if configured == "embedded":
        return _embedded()
    if configured:
        path = Path(configured).expanduser().absolute()
        if path.is_file() and os.access(path, os.X_OK):
            return Engine((str(path),))
        msg = f"LLAMA_SERVER_PATH={configured} is not a program that can be run."
        raise EngineError(msg)
    if found := shutil.which("llama-server"):
        return Engine((str(Path(found).absolute()),))
    return _embedded()


def _embedded() -> Engine:
    if find_spec("xllamacpp") is None:
        msg = "There is no llama-server: set LLAMA_SERVER_PATH, or pip install xllamacpp."
        raise EngineError(msg)
    return Engine(
        (sys.executable, "-m", "servers_app.engine.embedded"), cwd=Path(settings.BASE_DIR)
    )
