"""Which llama-server is launched, and what is said where there is none."""

import stat
import sys
from pathlib import Path

import pytest
from pytest_django import Settings

from servers_app.engine import binary
from servers_app.engine.binary import Engine, find_engine
from servers_app.errors import EngineError


def program(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(stat.S_IRWXU)
    return path


def test_the_configured_llama_server_comes_first(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LLAMA_SERVER_PATH = str(program(tmp_path / "mine"))
    monkeypatch.setenv("PATH", str(program(tmp_path / "bin" / "llama-server").parent))

    assert find_engine() == Engine((str(tmp_path / "mine"),))


def test_else_the_one_on_path_is_taken(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LLAMA_SERVER_PATH = ""
    monkeypatch.setenv("PATH", str(program(tmp_path / "bin" / "llama-server").parent))

    assert find_engine().command == (str(tmp_path / "bin" / "llama-server"),)


def test_else_the_embedded_one_is_taken(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LLAMA_SERVER_PATH = ""
    monkeypatch.setenv("PATH", str(tmp_path))

    engine = find_engine()

    assert engine.is_embedded
    assert engine.command == (sys.executable, "-m", "servers_app.engine.embedded")


def test_a_build_is_found_by_its_name(settings: Settings, tmp_path: Path) -> None:
    settings.LLAMA_SERVER_PATH = str(program(tmp_path / "mine"))
    settings.LLAMA_SERVER_BUILDS = {"old": program(tmp_path / "b6000")}

    assert find_engine("old") == Engine((str(tmp_path / "b6000"),), name="old")
    assert find_engine().name == ""


def test_the_embedded_engine_has_a_name_wherever_another_is_the_default(
    settings: Settings, tmp_path: Path
) -> None:
    settings.LLAMA_SERVER_PATH = str(program(tmp_path / "mine"))

    engine = find_engine("embedded")

    assert (engine.is_embedded, engine.name) == (True, "embedded")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "is not there"),
        ("a folder", "is not a program that can be run"),
        ("not executable", "chmod +x"),
        ("out of reach", "is not there"),
    ],
)
def test_a_configured_path_that_cannot_be_run_is_an_error(
    settings: Settings, tmp_path: Path, kind: str, words: str
) -> None:
    path = tmp_path / "llama-server"
    if kind == "a folder":
        path.mkdir()
    elif kind == "not executable":
        path.touch()
    elif kind == "out of reach":
        path.touch()
        path = path / "below a file"
    settings.LLAMA_SERVER_PATH = str(path)
    settings.LLAMA_SERVER_BUILDS = {"old": path}

    with pytest.raises(EngineError, match="LLAMA_SERVER_PATH=/") as of_default:
        find_engine()
    with pytest.raises(EngineError, match="LLAMA_SERVER_BUILDS: old=/") as of_old:
        find_engine("old")

    assert words in str(of_default.value)
    assert words in str(of_old.value)


@pytest.mark.parametrize("name", ["odl", "/bin/sh", "../llama-server"])
def test_a_name_that_nobody_gave_lists_those_there_are(
    settings: Settings, tmp_path: Path, name: str
) -> None:
    settings.LLAMA_SERVER_BUILDS = {"old": tmp_path, "cuda": tmp_path}

    with pytest.raises(EngineError, match=f"'{name}'.* Available: cuda, embedded, old;"):
        find_engine(name)


def test_without_any_engine_it_says_what_to_install(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LLAMA_SERVER_PATH = ""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(binary, "find_spec", lambda _name: None)

    with pytest.raises(EngineError, match="pip install xllamacpp"):
        find_engine()
