"""The command line of a llama-server: all of it, and who says which part."""

import http.client
import json
import subprocess
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
from servers_app.engine import argv as argv_module
from servers_app.engine.argv import NO_PORT_YET, Argument, explain_argv, server_argv
from servers_app.engine.binary import Engine, find_engine
from servers_app.engine.capabilities import Capabilities
from servers_app.keys import server_key
from tests.conftest import MakeModel, MakeProfile
from tests.models_app.ggufs import Tensor, write_gguf

LLAMA_SERVER = Engine(("/usr/bin/llama-server",))

Serve = Callable[[DiscoveredModel, Mapping[str, Setting]], int]
Argv = Callable[..., list[str]]


@pytest.fixture
def argv(b11434: Capabilities, monkeypatch: pytest.MonkeyPatch) -> Argv:
    """Return a function: what follows the program for a model of which somebody says so."""
    monkeypatch.setattr(argv_module, "capabilities", lambda _engine: b11434)

    def of(model: DiscoveredModel, **values: object) -> list[str]:
        settings = resolve([("model", values)], model_context=None, cores=64)
        return server_argv(LLAMA_SERVER, model, 8083, settings)[1:]

    return of


def test_the_command_line_names_all_that_a_configuration_file_could_change(
    make_model: MakeModel, argv: Argv
) -> None:
    model = make_model(context_length=131072)

    command = argv(model)

    assert command == [
        *("--model", model.file_path, "--alias", model.model_id),
        *("--host", "127.0.0.1", "--port", "8083"),
        *("--slots", "--metrics", "--no-ui", "--cors-origins", "localhost"),
        *("--ctx-size", "32768", "--n-gpu-layers", "99", "--threads", "8"),
        *("--batch-size", "512", "--ubatch-size", "256", "--parallel", "1"),
    ]


def test_a_vision_model_is_given_the_projector_beside_it(
    make_model: MakeModel, argv: Argv
) -> None:
    model = make_model(kind=ModelKind.VISION, projector_path="/models/mmproj.gguf")

    assert argv(model)[-2:] == ["--mmproj", "/models/mmproj.gguf"]


@pytest.mark.parametrize(
    ("kind", "flag"),
    [(ModelKind.EMBEDDING, "--embeddings"), (ModelKind.RERANKER, "--reranking")],
)
def test_a_model_that_does_not_chat_is_served_for_what_it_does(
    make_model: MakeModel, argv: Argv, kind: ModelKind, flag: str
) -> None:
    assert flag in argv(make_model(kind=kind))


def test_no_flag_of_ours_follows_those_of_a_person(make_model: MakeModel, argv: Argv) -> None:
    model = make_model(kind=ModelKind.EMBEDDING)

    assert argv(model, jinja="on", extra_args=["--seed"])[-2:] == ["--jinja", "--seed"]


@pytest.mark.usefixtures("argv")
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
        Argument("1", None, "profile p", "this build does not list it"),
        Argument("-v", None, "profile p"),
    ]


@pytest.mark.usefixtures("argv")
def test_what_is_shown_is_what_is_launched(make_model: MakeModel) -> None:
    engine, model = Engine(("python", "-m", "engine")), make_model()
    settings = resolve([("base", {"extra_args": ["--temp", "0"]})], model_context=1, cores=1)

    shown = explain_argv(engine, model, 8083, settings, host="10.0.0.7")

    launched = server_argv(engine, model, 8083, settings, host="10.0.0.7")
    assert launched == [part for each in shown for part in each[:2] if part is not None]
    assert launched[launched.index("--host") + 1] == "10.0.0.7"


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
        port, engine = free_port(), find_engine("embedded")
        with (tmp_path / "engine.log").open("wb") as log:
            command = server_argv(engine, model, port, settings)
            started.append(subprocess.Popen(command, cwd=engine.cwd, stdout=log, stderr=log))
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
