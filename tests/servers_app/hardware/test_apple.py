"""A Mac, by programs that say what a Mac's own say."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servers_app.hardware import apple, processor
from servers_app.hardware.apple import read_apple

M2 = """\
machdep.cpu.brand_string: Apple M2 Pro
hw.nperflevels: 2
hw.perflevel0.physicalcpu: 6
hw.perflevel0.l2cachesize: 16777216
hw.optional.AdvSIMD: 1
hw.optional.arm.FEAT_FP16: 1
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_SME: 0
"""
INTEL = """\
machdep.cpu.brand_string: Intel(R) Core(TM) i9-9980HK CPU @ 2.40GHz
machdep.cpu.features: FPU SSE4.2 FMA F16C AVX1.0
machdep.cpu.leaf7_features: AVX2 BMI2
"""
SHARED = {
    "_name": "Apple M2 Pro",
    "sppci_model": "Apple M2 Pro",
    "sppci_cores": "19",
    "spdisplays_vendor": "sppci_vendor_Apple",
}
CARD = {
    "sppci_model": "AMD Radeon Pro 5500M",
    "spdisplays_vendor": "sppci_vendor_amd",
    "spdisplays_vram": "8 GB",
}

Mac = Callable[..., None]


@pytest.fixture
def mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mac]:
    """Return a function that makes this a Mac, whose programs print what it is given."""

    def program(name: str, text: str, code: int) -> str:
        said, path = tmp_path / f"{name}.txt", tmp_path / name
        said.write_text(text)
        path.write_text(f"#!/bin/sh\ncat {said}\necho unknown oid >&2\nexit {code}\n")
        path.chmod(0o700)
        return str(path)

    def make(sysctl: str = "", displays: str = "") -> None:
        monkeypatch.setattr(apple, "IS_MAC", True)
        # It fails for each name that this Mac does not know.
        monkeypatch.setattr(apple, "SYSCTL", program("sysctl", sysctl, 1))
        monkeypatch.setattr(apple, "SYSTEM_PROFILER", program("profiler", displays, 0))
        apple.forget()
        processor.forget()

    yield make
    apple.forget()
    processor.forget()


def test_apples_processor_is_told_by_sysctl(mac: Mac) -> None:
    mac(M2)

    assert processor.cpu_name() == "Apple M2 Pro"
    assert processor.cpu_flags() == ("neon", "fp16", "dotprod", "i8mm")
    assert processor.performance_cores() == 6
    assert processor.last_cache_bytes() == 16 * 2**20


def test_an_intel_macs_flags_have_the_names_they_have_elsewhere(mac: Mac) -> None:
    mac(INTEL)

    assert processor.cpu_flags() == ("sse4_2", "avx", "avx2", "f16c", "fma", "bmi2")
    assert processor.performance_cores() is None


def test_apples_gpu_shares_the_machines_memory_and_a_card_has_its_own(mac: Mac) -> None:
    mac(displays=json.dumps({"SPDisplaysDataType": [SHARED, CARD]}))

    (shared, card), notes = read_apple()

    assert (shared.name, shared.vendor) == ("Apple M2 Pro, 19 cores", "Apple")
    assert (shared.total_bytes, shared.shares_memory) == (0, True)
    assert (card.vendor, card.total_bytes, card.shares_memory) == ("AMD", 8 * 2**30, False)
    assert notes == ()


@pytest.mark.parametrize("answer", ["", "no JSON", "{}", '{"SPDisplaysDataType": 1}', "[1]"])
def test_a_mac_that_does_not_answer_is_a_note(mac: Mac, answer: str) -> None:
    mac(displays=answer)

    gpus, (note,) = read_apple()

    assert list(gpus) == []
    assert "system_profiler" in note


def test_programs_that_are_missing_are_no_error(
    mac: Mac, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mac()
    monkeypatch.setattr(apple, "SYSCTL", str(tmp_path / "none"))
    monkeypatch.setattr(apple, "SYSTEM_PROFILER", str(tmp_path / "none"))
    apple.forget()

    assert processor.cpu_flags() == ()
    assert processor.cpu_name()
    assert len(read_apple()[1]) == 1
