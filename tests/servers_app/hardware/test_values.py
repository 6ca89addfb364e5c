"""Hardware as JSON and back; what older versions wrote can be read."""

import json

from servers_app.hardware import Disk, Gpu, Hardware, without_paths

HARDWARE = Hardware(
    cpu="AMD EPYC",
    physical_cores=8,
    logical_cores=16,
    total_bytes=64,
    available_bytes=32,
    swap_total_bytes=4,
    swap_used_bytes=1,
    gpus=(Gpu("RTX", 24, 20, 4, "NVIDIA", "nvidia 580"), Gpu("M2", 0, 0, 0, "Apple")),
    notes=("GPU 1 is left out.",),
    read_at=5.5,
    cpu_flags=("avx2", "fma"),
    disks=(Disk("/mnt", 100, 40, "nvme", "ext4", ("/mnt/models",), ("/mnt/hub",)),),
    disk_notes=("The scan root /gone is not there.",),
    memory_bandwidth_bytes_per_s=40,
    memory_bandwidth_how="Read.",
)


def test_what_goes_into_json_comes_out_of_it() -> None:
    told = json.loads(json.dumps(HARDWARE.as_json()))

    assert told == HARDWARE.as_json()
    assert Hardware.from_json(told) == HARDWARE


def test_what_an_older_version_wrote_is_read() -> None:
    gpu = {"name": "RTX", "total_bytes": 24, "free_bytes": 20, "used_bytes": 4}
    told = {"cpu": "Ryzen", "total_bytes": 64, "gpus": [gpu], "notes": []}

    found = Hardware.from_json(told)

    assert found is not None
    assert (found.cpu, found.physical_cores, found.disks) == ("Ryzen", 1, ())
    assert found.gpus == (Gpu("RTX", 24, 20, 4),)
    assert found.memory_bandwidth_bytes_per_s is None


def test_what_a_newer_version_wrote_is_read_as_far_as_it_is_known() -> None:
    told = {**HARDWARE.as_json(), "npus": ["one"]}

    assert Hardware.from_json(told) == HARDWARE


def test_a_node_that_has_said_nothing_has_no_hardware() -> None:
    assert Hardware.from_json({}) is None


def test_without_paths_nothing_says_where_things_lie() -> None:
    shown = without_paths(HARDWARE.as_json())

    text = json.dumps(shown)
    assert "/mnt" not in text
    assert "/gone" not in text
    assert shown["disks"][0]["free_bytes"] == 40
    assert shown["notes"] == ["GPU 1 is left out."]
    assert without_paths({"cpu": "x"}) == {"cpu": "x"}
