"""A model that only B has is copied to C, and runs there: see test_hosts.py."""

import hashlib
from pathlib import Path

from tests.cluster.alone import as_process_1
from tests.cluster.deployment import Deployment
from tests.cluster.hosts import until

MODEL_ID = "smollm2_135m_q41_fast"


def play(folder: Path, model: Path) -> None:
    magi = Deployment(folder, model, has_model=("b",))
    magi.start()
    until(lambda: _nodes(magi) == ["b"], "B has the model")

    refused = magi.web.post(f"/api/models/servers/{MODEL_ID}/start?node=c", json={})
    assert refused.status_code == 409, refused.text
    assert "Copy it" in refused.json()["detail"]

    magi.manage("copy", MODEL_ID, "--to", "c")
    assert _nodes(magi) == ["b", "c"]
    assert not magi.hosts["c"].engines()  # a copy enables nothing
    (copied,) = magi.hub_of("c").rglob(model.name)
    assert _sha256(copied) == _sha256(model)

    started = magi.post(f"/api/models/servers/{MODEL_ID}/start?node=c")
    assert started["status"] == "started", started
    assert len(magi.hosts["c"].engines()) == 1
    asked = {"model": MODEL_ID, "messages": [{"role": "user", "content": "Hello"}]}
    answer = magi.post("/v1/chat/completions", {**asked, "max_tokens": 4})
    assert answer["choices"][0]["message"]["content"]


def _nodes(magi: Deployment) -> list[str]:
    models = magi.get("/api/models/registry")["models"]
    return sorted(models[MODEL_ID]["nodes"]) if MODEL_ID in models else []


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    as_process_1(play)
