"""`manage.py hardware`: what it shows, to people and to machines."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from models_app.errors import NoWorkerError
from servers_app import hardware_look
from servers_app.hardware import Disk, Gpu, Hardware
from servers_app.management.commands import hardware as command
from servers_app.models import EngineBuild, Node

pytestmark = pytest.mark.django_db

GIB = 2**30
HARDWARE = Hardware(
    cpu="AMD Ryzen [9]",
    physical_cores=16,
    logical_cores=32,
    total_bytes=64 * GIB,
    available_bytes=40 * GIB,
    swap_total_bytes=0,
    swap_used_bytes=0,
    gpus=(
        Gpu("RTX 4090", 24 * GIB, 20 * GIB, 4 * GIB, "NVIDIA", "nvidia 580"),
        Gpu("Raphael", 0, 0, 0, "AMD", "amdgpu", shares_memory=True),
    ),
    notes=("GPU 2 is left out.",),
    read_at=1.0,
    cpu_flags=("avx2", "fma"),
    performance_cores=8,
    cpu_limit=12.5,
    disks=(Disk("/mnt", 10**12, 4 * 10**11, "nvme", "ext4", ("/mnt/models",), ("/mnt/hub",)),),
    disk_notes=("The scan root /gone is not there.",),
    memory_bandwidth_bytes_per_s=61_200_000_000,
    memory_bandwidth_error_bytes_per_s=900_000_000,
    memory_bandwidth_how="Read by 8 threads.",
    memory_bandwidth_at=1.0,
)

Say = Callable[..., str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Say:
    """Return a function that runs the command on a machine of the test's own."""
    monkeypatch.setattr(command, "here", lambda: HARDWARE)

    def run(*arguments: str) -> str:
        capsys.readouterr()
        call_command("hardware", *arguments)
        return capsys.readouterr().out

    return run


def test_all_of_this_machine_is_shown(said: Say) -> None:
    EngineBuild.objects.create(
        node="local",
        path="/opt/llama-server",
        devices=[
            {"name": "CUDA0", "description": "RTX 4090", "total_mib": 24000, "free_mib": 23000}
        ],
    )
    EngineBuild.objects.create(node="local", path="/opt/old", problem="It is too old.")
    EngineBuild.objects.create(node="elsewhere", path="/theirs")

    shown = " ".join(said().split())

    for text in (
        "AMD Ryzen [9]",
        "16, 32 threads",
        "Fast cores 8",
        "12.5 of them",
        "avx2 fma",
        "40.0 of 64.0 GiB",
        "there is none",
        "61.2 GB/s ± 0.9",
        "RTX 4090 NVIDIA nvidia 580 20.0 of 24.0 GiB free",
        "Raphael AMD amdgpu the machine's",
        "/mnt NVMe ext4 400.0 of 1,000.0 GB free models: /mnt/models",
        "downloads: /mnt/hub",
        "/opt/llama-server CUDA0 RTX 4090 23,000 of 24,000 MiB free",
        "/opt/old - It is too old.",
        "GPU 2 is left out.",
        "The scan root /gone is not there.",
    ):
        assert text in shown
    assert "/theirs" not in shown


def test_for_machines_it_is_json(said: Say) -> None:
    EngineBuild.objects.create(node="local", path="/opt/llama-server", version="b1")

    told = json.loads(said("--json"))

    assert told["node"] == "local"
    assert told["disks"][0]["path"] == "/mnt"
    assert told["engines"][0]["version"] == "b1"
    assert Hardware.from_json(told) == HARDWARE


def test_a_bare_machine_says_what_comes_next(
    said: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = Hardware("x", 1, 1, GIB, GIB, 0, 0, (), (), 1.0)
    monkeypatch.setattr(command, "here", lambda: bare)

    shown = said()

    assert "not measured" in shown
    assert "models run on the processor" in shown
    assert "add a scan root" in shown


def test_this_machine_is_looked_at_anew_by_this_process(
    said: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Hardware("looked at anew", 1, 1, GIB, GIB, 0, 0, (), (), 1.0)
    monkeypatch.setattr(hardware_look, "look_again", lambda: found)

    assert "looked at anew" in said("--refresh")


def test_another_node_is_shown_as_it_said_last(said: Say) -> None:
    Node.objects.create(name="attic", hardware=HARDWARE.as_json() | {"cpu": "of the attic"})

    assert "of the attic" in said("--node", "attic")


def test_another_node_is_looked_at_by_its_worker(
    said: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    Node.objects.create(name="attic", hardware=HARDWARE.as_json())
    asked: list[str] = []

    def ask(node: str) -> Any:
        asked.append(node)
        return SimpleNamespace(ready=lambda: True, failed=lambda: False)

    monkeypatch.setattr(command, "request_look", ask)

    assert "RTX 4090" in said("--node", "attic", "--refresh")
    assert asked == ["attic"]


def test_what_cannot_be_shown_is_an_error_that_says_what_to_do(
    said: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    Node.objects.create(name="new")

    def away(node: str) -> None:
        raise NoWorkerError(node)

    monkeypatch.setattr(command, "request_look", away)

    with pytest.raises(CommandError, match=r"No node is called 'attic'\. There are: new"):
        said("--node", "attic")
    with pytest.raises(CommandError, match=r"has not said yet what it has\. Start its worker"):
        said("--node", "new")
    with pytest.raises(CommandError, match="worker"):
        said("--node", "new", "--refresh")


def test_a_worker_that_fails_is_an_error(said: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    Node.objects.create(name="attic", hardware=HARDWARE.as_json())
    failed = SimpleNamespace(ready=lambda: True, failed=lambda: True)
    monkeypatch.setattr(command, "request_look", lambda _node: failed)

    with pytest.raises(CommandError, match="did not come to an end; see its log"):
        said("--node", "attic", "--refresh")
