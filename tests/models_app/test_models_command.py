"""`manage.py models`, over real files that a scan has registered."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from models_app import registry
from tests.models_app.ggufs import gguf_bytes, write_gguf

pytestmark = pytest.mark.django_db

QWEN = "qwen3_4p0b_q4km_fast"
CODER = "qwen2_coder_p5_14p0b_q4km_powerful"


@pytest.fixture(autouse=True)
def hub(settings: Settings, tmp_path: Path) -> Path:
    settings.MODEL_SCAN_PATH = [tmp_path / "hub"]
    settings.MAGI_RUN_DIR = tmp_path / "run"
    write_gguf(tmp_path / "hub" / "Qwen3-4B-Q4_K_M.gguf")
    write_gguf(tmp_path / "hub" / "qwen2.5-coder-14b-instruct-q4_k_m.gguf")
    registry.rescan("local")
    return tmp_path / "hub"


def listed(capsys: pytest.CaptureFixture[str], **filters: str) -> list[str]:
    call_command("models", "list", json=True, **filters)
    return [model["model_id"] for model in json.loads(capsys.readouterr().out)]


def test_the_list_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("models", "list")

    said = capsys.readouterr().out
    assert "QWEN3 4.0B Q4_K_M" in said
    assert "QWEN2.5 Coder 14.0B Q4_K_M" in said


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"tier": "fast"}, [QWEN]),
        ({"tier": "powerful"}, [CODER]),
        ({"family": "QWEN"}, [CODER, QWEN]),
        ({"quant": "q4_k_m"}, [CODER, QWEN]),
        ({"quant": "Q8_0"}, []),
        ({"kind": "embedding"}, []),
        ({"search": "coder"}, [CODER]),
    ],
)
def test_the_list_is_filtered(
    capsys: pytest.CaptureFixture[str], filters: dict[str, str], expected: list[str]
) -> None:
    assert listed(capsys, **filters) == expected


def test_info_shows_the_memory_by_context_with_its_parts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call_command("models", "info", QWEN, json=True)

    described = json.loads(capsys.readouterr().out)
    assert described["model_id"] == QWEN
    (row,) = described["memory"]
    assert row["ctx_size"] == 4096
    assert row["projector_bytes"] == 0
    parts = row["weights_bytes"] + row["kv_cache_bytes"] + row["compute_bytes"]
    assert row["total_bytes"] == parts


def test_info_is_readable_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("models", "info", QWEN)

    said = capsys.readouterr().out
    assert "context_length" in said
    assert "KV cache" in said


def test_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(CommandError, match="Model not found: nope"):
        call_command("models", "info", "nope")


def test_sound_files_validate(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("models", "validate")

    assert capsys.readouterr().out.count("sound") == 2


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        pytest.param(lambda path: path.unlink(), "the file is missing", id="gone"),
        pytest.param(lambda path: path.write_bytes(b"junk" * 9), "not a GGUF file", id="junk"),
        pytest.param(
            lambda path: path.write_bytes(gguf_bytes()[:-40]), "truncated", id="truncated"
        ),
        pytest.param(lambda path: os.truncate(path, 9999), "when it was scanned", id="grown"),
    ],
)
def test_damage_is_found_and_the_exit_status_says_so(
    capsys: pytest.CaptureFixture[str],
    hub: Path,
    damage: Callable[[Path], object],
    problem: str,
) -> None:
    damage(hub / "Qwen3-4B-Q4_K_M.gguf")

    with pytest.raises(CommandError, match="Not sound: 1"):
        call_command("models", "validate", json=True)

    found = json.loads(capsys.readouterr().out)
    assert problem in found[QWEN][0]
    assert found[CODER] == []


def test_a_missing_shard_is_found(capsys: pytest.CaptureFixture[str], hub: Path) -> None:
    for number in (1, 2):
        write_gguf(hub / f"Llama-3.3-70B-Instruct-Q8_0-0000{number}-of-00002.gguf")
    registry.rescan("local")
    (hub / "Llama-3.3-70B-Instruct-Q8_0-00002-of-00002.gguf").unlink()

    with pytest.raises(CommandError):
        call_command("models", "validate", "llama3_p3_70p0b_q80_powerful")

    assert "00002-of-00002.gguf: the file is missing" in capsys.readouterr().out


@pytest.mark.parametrize("is_sound", [True, False])
def test_a_hub_file_is_held_against_its_blobs_name(
    capsys: pytest.CaptureFixture[str], hub: Path, settings: Settings, is_sound: bool
) -> None:
    content = gguf_bytes() + bytes(512)
    digest = hashlib.sha256(content).hexdigest() if is_sound else "0" * 64
    repo = hub.parent / "cache" / "models--org--name"
    blob = repo / "blobs" / digest
    link = repo / "snapshots" / "abc" / "Tiny-1B-Q8_0.gguf"
    for path in (blob, link):
        path.parent.mkdir(parents=True)
    blob.write_bytes(content)
    link.symlink_to(blob)
    settings.MODEL_SCAN_PATH = [hub.parent / "cache"]
    registry.rescan("local")

    if is_sound:
        call_command("models", "verify", "tiny_1p0b_q80_balanced", json=True)
    else:
        with pytest.raises(CommandError, match="Not sound: 1"):
            call_command("models", "verify", "tiny_1p0b_q80_balanced", json=True)

    (result,) = json.loads(capsys.readouterr().out)
    assert result["is_sound"] is is_sound


def test_a_plain_file_has_nothing_to_be_held_against(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call_command("models", "verify", QWEN)

    assert "nothing to compare with" in capsys.readouterr().out
