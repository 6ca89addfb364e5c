"""Two nodes for a test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from tests.models_app.copying.nodes import TwoNodes, two_nodes


@pytest.fixture
def nodes(
    transactional_db: None,
    node_folders: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[TwoNodes]:
    with two_nodes(node_folders, settings, monkeypatch) as both:
        yield both
