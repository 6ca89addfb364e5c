"""Which llama-server is launched, and with which command line."""

import stat
import sys
from pathlib import Path

import pytest
from pytest_django import Settings

from models_app.models import ModelKind
from servers_app.engine import argv, binary
from servers_app.engine.argv import server_argv
from servers_app.engine.binary import Engine, find_engine
from servers_app.errors import EngineError
from servers_app.keys import server_key
from tests.conftest import MakeModel

LLAMA_SERVER = Engine(("/usr/bin/llama-server",))


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

    assert find_engine().command == (str(tmp_path / "mine"),)


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


@pytest.mark.parametrize("kind", ["missing", "a folder", "not executable"])
def test_a_configured_path_that_cannot_be_run_is_an_error(
    settings: Settings, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "llama-server"
    if kind == "a folder":
        path.mkdir()
    elif kind == "not executable":
        path.touch()
    settings.LLAMA_SERVER_PATH = str(path)

    with pytest.raises(EngineError, match="LLAMA_SERVER_PATH"):
        find_engine()


def test_without_any_engine_it_says_what_to_install(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LLAMA_SERVER_PATH = ""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(binary, "find_spec", lambda _name: None)

    with pytest.raises(EngineError, match="pip install xllamacpp"):
        find_engine()


def test_the_command_line_names_all_that_a_configuration_file_could_change(
    make_model: MakeModel,
) -> None:
    model = make_model(context_length=131072)

    command = server_argv(LLAMA_SERVER, model, 8083)

    flags = dict(zip(command[1::2], command[2::2], strict=True))
    assert command[0] == "/usr/bin/llama-server"
    assert flags["--model"] == model.file_path
    assert flags["--alias"] == model.model_id
    assert (flags["--host"], flags["--port"]) == ("127.0.0.1", "8083")
    assert (flags["--ctx-size"], flags["--parallel"]) == ("32768", "1")


def test_the_context_is_no_longer_than_the_models_own(make_model: MakeModel) -> None:
    assert argv.ctx_size(make_model(context_length=8192)) == 8192


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (6, 5), (64, 8), (None, 1)])
def test_a_core_is_left_for_the_others(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, threads: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)

    assert argv.threads() == threads


@pytest.mark.parametrize(
    ("kind", "flag"),
    [(ModelKind.EMBEDDING, "--embeddings"), (ModelKind.RERANKER, "--reranking")],
)
def test_a_model_that_does_not_chat_is_served_for_what_it_does(
    make_model: MakeModel, kind: ModelKind, flag: str
) -> None:
    assert flag in server_argv(LLAMA_SERVER, make_model(kind=kind), 8080)


def test_each_server_has_a_key_that_only_the_secret_key_opens(settings: Settings) -> None:
    keys = {server_key(1), server_key(2)}
    settings.SECRET_KEY = "another"

    assert len(keys | {server_key(1)}) == 3
