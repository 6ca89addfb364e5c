"""The real engine under the supervisor: what goes wrong is on the row and in the API."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from django.test import Client
from pytest_django import Settings

from models_app.models import DiscoveredModel
from profiles_app.models import BaseRunSettings
from servers_app import launcher, probe, services, supervisor
from servers_app.models import Server, ServerState
from tests.conftest import MakeModel
from tests.models_app.ggufs import I32, TEXT_MODEL, U16, Typed, write_gguf
from tests.servers_app.supervisor.conftest import killed, settled

pytestmark = pytest.mark.django_db(transaction=True)

Launch = Callable[[Path], Server]


@pytest.fixture
def launch(node: Path, make_model: MakeModel, settings: Settings) -> Iterator[Launch]:
    """Return a function that has a file served by the embedded engine."""
    settings.LLAMA_SERVER_PATH = "embedded"
    small = {"ctx_size": 512, "threads": 1}
    BaseRunSettings.objects.update_or_create(pk=1, defaults={"run_settings": small})

    def start(path: Path) -> Server:
        model: DiscoveredModel = make_model(
            file_path=str(path), size_bytes=path.stat().st_size if path.exists() else 1
        )
        return settled(services.request_start(model))

    yield start
    for server in Server.objects.all():
        services.request_stop(server, at_once=True)
        supervisor.settle(server.pk)


def said(client: Client) -> str:
    (server,) = client.get("/api/models/servers").json()["servers"]
    assert server["state"] == "failed"
    error: str = server["last_error"]
    return error


def test_a_sound_model_is_ready_and_is_what_was_asked_for(
    launch: Launch, smollm2: Path
) -> None:
    server = launch(smollm2)

    assert server.state == ServerState.READY
    assert (server.facts["n_ctx"], server.facts["total_slots"]) == (512, 1)
    assert server.note == ""
    assert "build" in server.build
    assert server.peak_mib is not None
    assert server.peak_mib > 90  # its weights alone


def test_a_corrupt_model_is_named(
    launch: Launch, smollm2: Path, tmp_path: Path, client: Client
) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(smollm2.read_bytes()[:10_000_000])

    server = launch(cut)

    assert "cut.gguf" in said(client)
    assert "Download it again" in said(client)
    assert server.exit_code == 1
    assert server.log_tail


def test_a_missing_shard_is_named(launch: Launch, tmp_path: Path, client: Client) -> None:
    split = {
        "split.no": Typed(U16, 0),
        "split.count": Typed(U16, 2),
        "split.tensors.count": Typed(I32, 2),
    }

    launch(write_gguf(tmp_path / "m-00001-of-00002.gguf", {**TEXT_MODEL, **split}))

    assert "m-00002-of-00002.gguf" in said(client)


def test_a_binary_that_is_not_executable_is_named(
    launch: Launch, smollm2: Path, tmp_path: Path, settings: Settings, client: Client
) -> None:
    program = tmp_path / "not-executable"
    program.write_text("#!/bin/sh\n")
    settings.LLAMA_SERVER_PATH = str(program)

    launch(smollm2)

    assert f"LLAMA_SERVER_PATH={program}" in said(client)


def test_a_binary_that_prints_nothing_is_named(
    launch: Launch, smollm2: Path, tmp_path: Path, settings: Settings, client: Client
) -> None:
    program = tmp_path / "silent"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o700)
    settings.LLAMA_SERVER_PATH = str(program)

    launch(smollm2)

    assert str(program) in said(client)
    assert "LLAMA_SERVER_PATH" in said(client)


def test_too_little_memory_says_so_and_what_to_do(
    launch: Launch, smollm2: Path, tmp_path: Path, settings: Settings, client: Client
) -> None:
    limited = tmp_path / "limited"
    engine = f"{sys.executable} -m servers_app.engine.embedded"
    limited.write_text(
        f'#!/bin/sh\ncd {settings.BASE_DIR}\n[ "$1" = --model ] && ulimit -v 600000\n'
        f'exec {engine} "$@"\n'
    )
    limited.chmod(0o700)
    settings.LLAMA_SERVER_PATH = str(limited)

    launch(smollm2)

    assert "memory" in said(client)
    assert "ctx_size" in said(client)


def test_a_kill_by_the_system_says_what_it_may_have_been(
    launch: Launch, smollm2: Path, client: Client
) -> None:
    server = killed(launch(smollm2), signal.SIGKILL)

    settled(server)

    assert "memory" in said(client)
    assert server.exit_code == -signal.SIGKILL


def test_a_kill_while_it_loads_is_no_load_for_ever(
    launch: Launch, smollm2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = probe.health

    def killing(port: int, *, host: str) -> probe.Health:
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or []
            if str(port) in command and str(launcher.KEEPER) not in command:
                process.kill()
        return asked(port, host=host)

    monkeypatch.setattr(probe, "health", killing)

    assert launch(smollm2).state == ServerState.FAILED
