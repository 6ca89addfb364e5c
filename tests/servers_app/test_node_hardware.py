"""What a node writes of its hardware, and the longer look that somebody asks for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from models_app.audit_models import AuditEntry
from models_app.errors import NoWorkerError
from models_app.models import ScanRoot
from servers_app import hardware_asks, hardware_look, node_hardware, tasks
from servers_app.engine import builds
from servers_app.hardware import read_disks
from servers_app.hardware.bandwidth import Bandwidth
from servers_app.hardware_asks import look_here, request_look
from servers_app.hardware_look import look_again
from servers_app.models import EngineBuild, Node
from servers_app.node_hardware import here
from servers_app.nodes import beat
from servers_app.processes import boot_id

pytestmark = pytest.mark.django_db

MEASURED = Bandwidth(40_000_000_000, 1_000_000_000, "Read by 2 threads.")

Measures = Callable[..., None]


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.MAGI_RUN_DIR = tmp_path
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))


@pytest.fixture(autouse=True)
def engine(tmp_path: Path, settings: Settings) -> Path:
    """A program that answers like a llama-server; its devices are in a file."""
    devices = tmp_path / "devices"
    devices.write_text("Available devices:\n")
    program = tmp_path / "llama-server"
    flags = "\n".join(f"{flag} X" for flag in (*builds.ESSENTIAL, "--list-devices"))
    (tmp_path / "help").write_text(flags)
    program.write_text(
        "#!/bin/sh\n"
        f"case $1 in --help) cat {tmp_path}/help;; --list-devices) cat {devices} || exit 1;; "
        "*) echo 'version: 11434 (abc)';; esac\n"
    )
    program.chmod(0o700)
    settings.LLAMA_SERVER_PATH = str(program)
    settings.LLAMA_SERVER_BUILDS = {}
    return devices


@pytest.fixture
def measures(monkeypatch: pytest.MonkeyPatch) -> Measures:
    """Return a function that says what a measurement comes to: it has all processors."""

    def use(found: Bandwidth | None = MEASURED, trouble: str = "") -> None:
        monkeypatch.setattr(hardware_look, "measure", lambda: (found, trouble))

    use()
    return use


def written(node: str = "local") -> dict[str, Any]:
    told: dict[str, Any] = Node.objects.get(name=node).hardware
    return told


def test_a_beat_tells_of_the_disks_with_models_and_of_where_downloads_go(
    tmp_path: Path,
) -> None:
    ScanRoot.objects.create(node="local", path=str(tmp_path))
    ScanRoot.objects.create(node="local", path=str(tmp_path / "off"), is_enabled=False)
    ScanRoot.objects.create(node="elsewhere", path="/theirs")

    beat()

    (disk,) = written()["disks"]
    assert disk["scan_roots"] == [str(tmp_path)]
    assert disk["downloads"] == [str(tmp_path / "hub"), str(tmp_path / "ollama")]
    assert written()["disk_notes"] == []


def test_a_scan_root_that_comes_is_written_with_the_next_beat(tmp_path: Path) -> None:
    beat()
    ScanRoot.objects.create(node="local", path=str(tmp_path))

    beat()

    assert written()["disks"][0]["scan_roots"] == [str(tmp_path)]


@pytest.mark.usefixtures("measures")
def test_what_was_measured_stays_until_the_machine_starts_anew() -> None:
    beat()
    assert written()["memory_bandwidth_bytes_per_s"] is None

    look_again()
    Node.objects.update(hardware=written() | {"read_at": 0})  # a beat is due
    beat()

    assert written()["read_at"] > 0
    assert written()["memory_bandwidth_bytes_per_s"] == 40_000_000_000
    assert here().memory_bandwidth_how == "Read by 2 threads."

    Node.objects.update(boot_id="the last one")
    beat()

    assert written()["memory_bandwidth_bytes_per_s"] is None
    assert Node.objects.get().boot_id == boot_id()


@pytest.mark.usefixtures("measures")
def test_what_is_measured_while_a_beat_looks_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    beat()
    Node.objects.update(hardware=written() | {"read_at": 0})

    def meanwhile(*folders: Any) -> Any:
        monkeypatch.setattr(node_hardware, "read_disks", read_disks)
        look_again()
        Node.objects.update(hardware=written() | {"read_at": 0})
        return read_disks(*folders)

    monkeypatch.setattr(node_hardware, "read_disks", meanwhile)
    beat()

    assert written()["memory_bandwidth_bytes_per_s"] == 40_000_000_000


def test_a_measurement_that_came_to_nothing_says_why(measures: Measures) -> None:
    look_again()
    measures(None, "64 MiB are free. Stop a model, and look again.")

    look_again()

    assert written()["memory_bandwidth_bytes_per_s"] is None
    assert written()["memory_bandwidth_how"].startswith("64 MiB are free.")


@pytest.mark.usefixtures("measures")
def test_a_longer_look_makes_the_node_known_and_alive_it_is_only_by_its_worker() -> None:
    look_again()

    node = Node.objects.get(name="local")
    assert node.hardware["total_bytes"] > 0
    assert not node.is_alive


@pytest.mark.usefixtures("measures")
def test_a_longer_look_asks_each_engine_for_its_devices_again(engine: Path) -> None:
    look_again()
    assert EngineBuild.objects.get().devices == []

    engine.write_text("Available devices:\n  CUDA0: NVIDIA L4 (24000 MiB, 23000 MiB free)\n")
    look_again()

    (device,) = EngineBuild.objects.get().devices
    assert (device["name"], device["free_mib"]) == ("CUDA0", 23000)


@pytest.mark.usefixtures("measures")
def test_an_engine_that_fails_with_its_driver_is_written_down_and_the_look_goes_on(
    engine: Path,
) -> None:
    look_again()
    engine.unlink()

    found = look_again()

    assert found.total_bytes > 0
    assert "--list-devices" in EngineBuild.objects.get().problem


@pytest.mark.usefixtures("measures")
def test_looking_here_is_told_to_the_audit() -> None:
    look_here("local", who="ada")

    entry = AuditEntry.objects.get()
    assert (entry.action, entry.target_kind, entry.target_id) == ("benchmark", "node", "local")


def test_nobody_is_asked_where_no_worker_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(node: str) -> None:
        raise NoWorkerError(node)

    monkeypatch.setattr(hardware_asks, "require_worker", away)

    with pytest.raises(NoWorkerError):
        request_look("there")
    assert not AuditEntry.objects.exists()


def test_the_task_looks_and_gives_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found = replace(here(), cpu="of the task")
    monkeypatch.setattr(hardware_look, "look_again", lambda: found)

    assert tasks.look_at_hardware() == found.as_json()
