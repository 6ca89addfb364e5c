"""Which llama-server is launched, and with which command line."""

import http.client
import json
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from models_app.models import DiscoveredModel, ModelKind
from profiles_app.runsettings import Setting, resolve
from servers_app import probe, services, supervisor
from servers_app.engine import binary
from servers_app.engine.argv import NO_PORT_YET, Argument, explain_argv, server_argv
from servers_app.engine.binary import Engine, find_engine
from servers_app.errors import EngineError
from servers_app.keys import server_key
from tests.conftest import MakeModel, MakeProfile
from tests.models_app.ggufs import Tensor, write_gguf

ROOT = Path(__file__).parents[2]
LLAMA_SERVER = Engine(("/usr/bin/llama-server",))
ENGINE_MODULE = "servers_app.engine.embedded"

Serve = Callable[[DiscoveredModel, Mapping[str, Setting]], int]


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


def argv(model: DiscoveredModel, **values: object) -> list[str]:
    """Return what follows the program for a model of which somebody says `values`."""
    settings = resolve([("model", values)], model_context=None, cores=64)
    return server_argv(LLAMA_SERVER, model, 8083, settings)[1:]


def test_the_command_line_names_all_that_a_configuration_file_could_change(
    make_model: MakeModel,
) -> None:
    model = make_model(context_length=131072)

    command = argv(model)

    assert command == [
        *("--model", model.file_path, "--alias", model.model_id),
        *("--host", "127.0.0.1", "--port", "8083"),
        *("--ctx-size", "32768", "--n-gpu-layers", "99", "--threads", "8"),
        *("--batch-size", "512", "--ubatch-size", "256", "--parallel", "1"),
    ]


@pytest.mark.parametrize(
    ("values", "flags"),
    [
        ({"ctx_size": 0, "n_gpu_layers": 0}, ["--ctx-size 0", "--n-gpu-layers 0"]),
        ({"n_gpu_layers": "all"}, ["--n-gpu-layers all"]),
        ({"threads": 4, "threads_batch": 6}, ["--threads 4", "--threads-batch 6"]),
        ({"parallel": 2, "kv_unified": True}, ["--parallel 2", "--kv-unified"]),
        ({"flash_attn": "on"}, ["--flash-attn on"]),
        ({"flash_attn": False}, ["--flash-attn off"]),
        (
            {"cache_type_k": "q8_0", "cache_type_v": "q4_0"},
            ["--cache-type-k q8_0", "--cache-type-v q4_0"],
        ),
        ({"load_mode": "mmap+mlock"}, ["--load-mode mmap+mlock"]),
        ({"jinja": "on"}, ["--jinja"]),
        ({"jinja": "off"}, ["--no-jinja"]),
        ({"mmproj": "/mmproj.gguf"}, ["--mmproj /mmproj.gguf"]),
        ({"lora": ["/a.gguf", "/b.gguf"]}, ["--lora /a.gguf,/b.gguf"]),
        (
            {"lora": ["/a.gguf", {"path": "/b.gguf", "scale": 0.5}]},
            ["--lora-scaled /a.gguf:1.0,/b.gguf:0.5"],
        ),
        ({"model_draft": "/d.gguf"}, ["--model-draft /d.gguf", "--spec-type draft-simple"]),
        (
            {"model_draft": "/d.gguf", "extra_args": ["--spec_type", "draft-mtp"]},
            ["--model-draft /d.gguf", "--spec_type draft-mtp"],
        ),
        ({"extra_args": ["--temp", "0", "--swa-full"]}, ["--temp 0", "--swa-full"]),
    ],
)
def test_a_setting_becomes_its_flag(
    make_model: MakeModel, values: dict[str, object], flags: list[str]
) -> None:
    model = make_model()

    line = " ".join(argv(model, **values)) + " "

    assert all(f" {flag} " in line for flag in flags)
    assert line.count("--spec") == " ".join(flags).count("--spec")


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"n_gpu_layers": "auto"}, "--n-gpu-layers"),
        ({"flash_attn": "auto"}, "--flash-attn"),
        ({"load_mode": "auto"}, "--load-mode"),
        ({"jinja": "auto"}, "jinja"),
        ({"kv_unified": False}, "kv-unified"),
        ({"mmproj": "none"}, "--mmproj"),
        ({"lora": []}, "--lora"),
        ({"cache_type_k": None}, "--cache-type-k"),
    ],
)
def test_what_is_left_to_llama_server_is_not_given(
    make_model: MakeModel, values: dict[str, object], flag: str
) -> None:
    model = make_model(kind=ModelKind.VISION, projector_path="/mmproj.gguf")

    assert flag not in " ".join(argv(model, **values))


def test_a_vision_model_is_given_the_projector_beside_it(make_model: MakeModel) -> None:
    model = make_model(kind=ModelKind.VISION, projector_path="/models/mmproj.gguf")

    assert argv(model)[-2:] == ["--mmproj", "/models/mmproj.gguf"]


@pytest.mark.parametrize(
    ("kind", "flag"),
    [(ModelKind.EMBEDDING, "--embeddings"), (ModelKind.RERANKER, "--reranking")],
)
def test_a_model_that_does_not_chat_is_served_for_what_it_does(
    make_model: MakeModel, kind: ModelKind, flag: str
) -> None:
    assert flag in argv(make_model(kind=kind))


def test_no_flag_of_ours_follows_those_of_a_person(make_model: MakeModel) -> None:
    model = make_model(kind=ModelKind.EMBEDDING)

    assert argv(model, jinja="on", extra_args=["--seed"])[-2:] == ["--jinja", "--seed"]


def test_of_every_flag_it_is_told_who_said_it(make_model: MakeModel) -> None:
    model = make_model()
    settings = resolve(
        [("base", {"threads": 9}), ("profile p", {"extra_args": ["--temp", "0", "1", "-v"]})],
        model_context=8192,
        cores=8,
    )

    explained = explain_argv(LLAMA_SERVER, model, None, settings)

    assert explained[0] == Argument("/usr/bin/llama-server")
    by_flag = {argument.flag: argument for argument in explained}
    assert by_flag["--port"] == ("--port", NO_PORT_YET, "MAGI", "")
    assert by_flag["--threads"].origin == "base"
    assert by_flag["--threads"].note.startswith("9 asked for")
    assert by_flag["--ctx-size"].note == "32768 asked for; the model was trained for 8192"
    assert explained[-3:] == [
        Argument("--temp", "0", "profile p"),
        Argument("1", None, "profile p"),
        Argument("-v", None, "profile p"),
    ]


def test_what_is_shown_is_what_is_launched(make_model: MakeModel) -> None:
    model = make_model()
    settings = resolve([("base", {"extra_args": ["--temp", "0"]})], model_context=1, cores=1)

    shown = explain_argv(Engine(("python", "-m", "engine")), model, 8083, settings)

    assert server_argv(Engine(("python", "-m", "engine")), model, 8083, settings) == [
        part for argument in shown for part in argument[:2] if part is not None
    ]


@pytest.mark.django_db(transaction=True)
def test_a_server_is_launched_with_its_settings_in_the_active_profile(
    make_model: MakeModel, make_profile: MakeProfile, stand_in: Callable[[str], None]
) -> None:
    model = make_model()
    make_profile("other", model.model_id, run_settings={"parallel": 2})
    make_profile("active", model.model_id, run_settings={"parallel": 3}, is_active=True)
    server = services.request_start(model)

    supervisor.settle(server.pk)

    server.refresh_from_db()
    flags = server.argv[server.argv.index("--parallel") :]
    services.request_stop(server)
    supervisor.settle(server.pk)
    assert flags[:2] == ["--parallel", "3"]


def lora_for_smollm2(path: Path) -> Path:
    """Write an adapter of one layer, all zeros: it changes nothing, and can be told of."""
    header = {
        "general.type": "adapter",
        "general.architecture": "llama",
        "adapter.type": "lora",
        "adapter.lora.alpha": 1.0,
    }
    weight = "blk.0.attn_q.weight"
    tensors = [Tensor(f"{weight}.lora_a", (576, 1)), Tensor(f"{weight}.lora_b", (1, 576))]
    return write_gguf(path, header, tensors)


@pytest.fixture
def serve(free_port: Callable[[], int], tmp_path: Path) -> Iterator[Serve]:
    """Return a function that runs the embedded engine until it is ready; returns its port."""
    started: list[subprocess.Popen[bytes]] = []

    def run(model: DiscoveredModel, settings: Mapping[str, Setting]) -> int:
        port, engine = free_port(), Engine((sys.executable, "-m", ENGINE_MODULE))
        with (tmp_path / "engine.log").open("wb") as log:
            command = server_argv(engine, model, port, settings)
            started.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log))
        while probe.health(port) != probe.Health.READY:
            assert started[-1].poll() is None, (tmp_path / "engine.log").read_text()
            time.sleep(0.02)
        return port

    yield run
    for process in started:
        process.kill()
        process.wait()


def ask(port: int, path: str, body: dict[str, object] | None = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    with closing(connection):
        connection.request("POST" if body else "GET", path, json.dumps(body) if body else None)
        return json.load(connection.getresponse())


def test_a_real_engine_takes_all_of_the_settings_and_answers(
    make_model: MakeModel, smollm2: Path, serve: Serve, tmp_path: Path
) -> None:
    adapter = lora_for_smollm2(tmp_path / "a.gguf")
    values = {
        "ctx_size": 512,
        "parallel": 2,
        "kv_unified": True,
        "threads_batch": 1,
        "flash_attn": "on",
        "cache_type_k": "q8_0",
        "cache_type_v": "q8_0",
        "load_mode": "none",
        "lora": [{"path": str(adapter), "scale": 0.5}],
        "model_draft": str(smollm2),
        "jinja": "on",
        "extra_args": ["--verbosity", "4", "--no-warmup"],
    }
    model = make_model(file_path=str(smollm2))

    port = serve(model, resolve([("model", values)], model_context=2048, cores=2))

    props, loras = ask(port, "/props"), ask(port, "/lora-adapters")
    answer = ask(port, "/completion", {"prompt": "1 2 3", "n_predict": 4, "temperature": 0})
    log = (tmp_path / "engine.log").read_text(errors="replace")
    assert (props["total_slots"], props["model_alias"]) == (2, model.model_id)
    assert props["default_generation_settings"]["n_ctx"] == 512
    assert [(lora["path"], lora["scale"]) for lora in loras] == [(str(adapter), 0.5)]
    assert answer["content"]
    assert answer["timings"]["draft_n"] > 0
    assert all(text in log for text in ("K (q8_0)", "V (q8_0)", "load_mode = none"))


def test_each_server_has_a_key_that_only_the_secret_key_opens(settings: Settings) -> None:
    keys = {server_key(1), server_key(2)}
    settings.SECRET_KEY = "another"

    assert len(keys | {server_key(1)}) == 3
