"""llama-servers of several times: the embedded one, and one of July 2025."""

import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_django import Settings

from servers_app.engine import builds
from servers_app.engine.binary import Engine, find_engine
from servers_app.engine.builds import capabilities
from servers_app.engine.capabilities import Capabilities, Version, parse_help
from tests.servers_app.engine import old_build

MakeProgram = Callable[..., Path]

HERE = Path(__file__).parent
HELP_B11434 = (HERE / "help_b11434.txt").read_text()


@pytest.fixture(autouse=True)
def _nothing_is_known_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "_known", {})


@pytest.fixture
def make_program(tmp_path: Path) -> MakeProgram:
    """Return a function that writes a program, a shell script unless it says else."""

    def make(text: str, name: str = "llama-server") -> Path:
        path = tmp_path / name
        path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
        path.chmod(stat.S_IRWXU)
        return path

    return make


@pytest.fixture
def old_engine(make_program: MakeProgram, settings: Settings) -> Engine:
    """The build 6000, which profiles call `old`."""
    text = Path(old_build.__file__).read_text()
    path = make_program(f"#!{sys.executable}\n{text}", "llama-server-b6000")
    settings.LLAMA_SERVER_BUILDS = {"old": path}
    return find_engine("old")


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Return a function that says what the build 6000 was started with, a line a run."""
    path = tmp_path / "asked"
    path.touch()
    monkeypatch.setenv("OLD_BUILD_ASKED", str(path))
    return lambda: path.read_text().splitlines()


@pytest.fixture
def b6000() -> Capabilities:
    flags = parse_help(old_build.HELP)
    return Capabilities("/opt/b6000/llama-server", Version("6000 (8ad7b3e6)", 6000), flags)


@pytest.fixture
def b11434() -> Capabilities:
    return Capabilities("/opt/llama-server", Version("", 11434), parse_help(HELP_B11434))


@pytest.fixture
def embedded(db: None) -> Capabilities:
    return capabilities(find_engine("embedded"))
