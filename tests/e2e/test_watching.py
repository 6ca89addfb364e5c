"""With MAGI_WATCH, a model that lands is registered without anybody asking for it."""

import pytest

from tests.e2e.magi import Magi
from tests.models_app.scans import complete_gguf

pytestmark = pytest.mark.e2e


def test_a_model_that_lands_is_registered_and_a_stop_ends_the_watcher(
    stopped_magi: Magi,
) -> None:
    models = stopped_magi.data_dir / "models"
    models.mkdir()
    stopped_magi.environment |= {"MAGI_WATCH": "true", "MODEL_SCAN_PATH": str(models)}
    stopped_magi.start()
    watcher = stopped_magi.process_of("watch")
    assert stopped_magi.get("/api/models/registry")["models"] == {}

    (models / "Qwen3-4B-Q4_K_M.gguf").write_bytes(complete_gguf())

    stopped_magi.until(
        lambda: (
            stopped_magi.get("/api/models/registry")["models"].keys()
            == {"qwen3_4p0b_q4km_fast"}
        )
    )
    assert stopped_magi.stop() == 0
    assert not watcher.is_running()
    assert stopped_magi.processes() == []
