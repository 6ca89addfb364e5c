from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.magi import Magi, magi_in


@pytest.fixture
def stopped_magi(tmp_path: Path) -> Iterator[Magi]:
    """A MAGI that nobody has started yet."""
    with magi_in(tmp_path) as magi:
        yield magi
