"""Fixtures around the stand-ins; a test module imports those that it uses."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session
from pytest_django import Settings

from tests.models_app.hubs.hub import Hub
from tests.models_app.hubs.ollama import OllamaRegistry


@pytest.fixture
def node_folders(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache, a store and a run folder of the test's own; no proxy, no pause, no token."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    monkeypatch.setattr("models_app.downloads.control.FIRST_PAUSE_S", 0.01)
    settings.MODEL_SCAN_PATH = []
    settings.MAGI_RUN_DIR = tmp_path / "run"
    settings.MAGI_DOWNLOAD_RESERVE_MIB = 0
    return tmp_path


@pytest.fixture
def hub(node_folders: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that `HF_ENDPOINT` names."""
    with Hub() as stand_in:
        monkeypatch.setenv("HF_ENDPOINT", stand_in.url)
        yield stand_in
        close_session()


@pytest.fixture
def registry(node_folders: Path, settings: Settings) -> Iterator[OllamaRegistry]:
    """A registry of Ollama's that the settings name."""
    with OllamaRegistry() as stand_in:
        settings.MAGI_OLLAMA_REGISTRY = stand_in.url
        yield stand_in
