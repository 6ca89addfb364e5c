"""The same settings on a llama-server of 2026 and on one of July 2025, each really launched."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from django.conf import settings as django_settings

from profiles_app.resolution import settings_of
from profiles_app.services import make_active, save_yaml
from servers_app import probe
from servers_app.engine.argv import server_argv
from servers_app.engine.binary import Engine, find_engine
from servers_app.models import Server, ServerState, Wanted
from servers_app.planning import explained, make_plan
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db

# The command of the guide (seed 000, Phase 4): what a llama-server of its time takes.
GUIDE = [
    *("--ctx-size", "512", "--n-gpu-layers", "99", "--threads", "1"),
    *("--batch-size", "512", "--ubatch-size", "256", "--flash-attn", "--no-mmap"),
]
# The same, as a profile says it.
YAML = """\
name: {name}
engine: {engine}
enabled_models: [small]
run_settings: {{ctx_size: 512, threads: 1, flash_attn: on, load_mode: none}}
"""

Launch = Callable[[Engine, Sequence[str]], "subprocess.Popen[bytes]"]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    started: list[subprocess.Popen[bytes]] = []

    def run(engine: Engine, argv: Sequence[str]) -> "subprocess.Popen[bytes]":
        with (tmp_path / "log").open("wb") as log:
            started.append(subprocess.Popen(argv, cwd=engine.cwd, stdout=log, stderr=log))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


def await_health(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    while probe.health(port) != probe.Health.READY:
        assert process.poll() is None, log.read_text(errors="replace")
        time.sleep(0.02)


def test_the_guides_own_command_ends_a_current_llama_server(
    launch: Launch, smollm2: Path, free_port: Callable[[], int], tmp_path: Path
) -> None:
    engine = find_engine("embedded")
    place = ["--model", str(smollm2), "--host", "127.0.0.1", "--port", str(free_port())]

    process = launch(engine, [*engine.command, *place, *GUIDE])

    assert process.wait(timeout=60) == 1
    # It takes --no-mmap for the value, as llama-server does.
    assert 'error while handling argument "--flash-attn"' in (tmp_path / "log").read_text()


def test_it_starts_one_of_its_time(
    launch: Launch, old_engine: Engine, free_port: Callable[[], int], tmp_path: Path
) -> None:
    port = free_port()
    place = ["--model", "/m.gguf", "--host", "127.0.0.1", "--port", str(port)]

    process = launch(old_engine, [*old_engine.command, *place, *GUIDE])

    await_health(process, port, tmp_path / "log")


@pytest.mark.parametrize("name", ["embedded", "old"])
@pytest.mark.usefixtures("old_engine")
def test_what_magi_makes_of_the_same_settings_starts_both(
    name: str,
    launch: Launch,
    make_model: MakeModel,
    smollm2: Path,
    free_port: Callable[[], int],
    tmp_path: Path,
) -> None:
    model = make_model("small", file_path=str(smollm2), context_length=8192)
    profile = save_yaml(YAML.format(name=name, engine=name))
    engine, port = find_engine(profile.engine), free_port()

    argv = server_argv(engine, model, port, settings_of(model, profile))

    await_health(launch(engine, argv), port, tmp_path / "log")


def test_what_is_for_one_build_ends_the_other(
    launch: Launch, make_model: MakeModel, old_engine: Engine, free_port: Callable[[], int]
) -> None:
    model = make_model("small")
    profile = save_yaml(YAML.format(name="New", engine="embedded"))
    new = find_engine("embedded")
    argv = server_argv(new, model, free_port(), settings_of(model, profile))

    process = launch(old_engine, [*old_engine.command, *argv[len(new.command) :]])

    assert process.wait(timeout=60) == 1


@pytest.mark.usefixtures("old_engine")
def test_two_profiles_side_by_side_are_launched_with_their_builds(
    make_model: MakeModel,
) -> None:
    make_model("small")
    old = save_yaml(YAML.format(name="Old", engine="old"))
    new = save_yaml(YAML.format(name="New", engine="embedded"))

    of_old = {each.flag: each for each in explained(old)["small"]}
    of_new = {each.flag: each for each in explained(new)["small"]}

    assert next(iter(of_old)).endswith("llama-server-b6000")
    assert next(iter(of_new)) == sys.executable
    assert of_old["--flash-attn"].value is None
    assert of_new["--flash-attn"].value == "on"
    assert of_old["--no-mmap"].origin == "profile old"
    assert of_old["--no-mmap"].note == "none: this build says --no-mmap"
    assert of_new["--load-mode"].value == "none"


@pytest.mark.usefixtures("old_engine")
def test_another_engine_restarts_a_server_and_the_same_one_does_not(
    make_model: MakeModel,
) -> None:
    model = make_model("small")
    old = save_yaml(YAML.format(name="Old", engine="old"))
    make_active(old)
    Server.objects.create(
        model=model,
        node=django_settings.MAGI_NODE,
        port=8080,
        wanted=Wanted.RUNNING,
        state=ServerState.READY,
        argv=server_argv(
            find_engine("old"), model, 8080, settings_of(model, old), host="10.0.0.7"
        ),
    )
    new = save_yaml(YAML.format(name="New", engine="embedded"))

    assert [wish.step.value for wish in make_plan(old).wishes] == ["stay"]
    assert [wish.step.value for wish in make_plan(new).wishes] == ["restart"]


@pytest.mark.usefixtures("old_engine")
def test_a_plan_of_many_models_asks_no_engine_for_each(
    make_model: MakeModel, asked: Callable[[], list[str]]
) -> None:
    ids = [f"m{number}" for number in range(5)]
    for model_id in ids:
        make_model(model_id)
    profile = save_yaml(f"name: Old\nengine: old\nenabled_models: [{', '.join(ids)}]\n")

    explained(profile)
    make_plan(profile)

    assert sorted(asked()) == ["--help", "--list-devices", "--version"]
