"""Nodes with made-up hardware, and models on them."""

from collections.abc import Callable

import pytest

from models_app.models import DiscoveredModel, ScanRoot
from servers_app.hardware import Hardware
from servers_app.models import EngineBuild, Node
from tests.conftest import MakeModel

NODE = "elsewhere"
FLAGS = {
    "--model": "FNAME",
    "--ctx-size": "N",
    "--threads": "N",
    "--parallel": "N",
    "--kv-unified": "",
    "--batch-size": "N",
    "--ubatch-size": "N",
    "--flash-attn": "[on|off|auto]",
    "--cache-type-k": "TYPE",
    "--cache-type-v": "TYPE",
    "--n-gpu-layers": "N|auto|all",
}

MakeNode = Callable[..., Node]
OnNode = Callable[..., DiscoveredModel]


@pytest.fixture
def make_node(db: None) -> MakeNode:
    """Return a function that saves a node with some hardware, and its llama-server."""

    def make(
        hardware: Hardware,
        name: str = NODE,
        flags: dict[str, str] | None = None,
        *,
        has_devices: bool = False,
    ) -> Node:
        device = {"name": "CUDA0", "description": "A GPU", "total_mib": 1, "free_mib": 1}
        EngineBuild.objects.create(
            node=name,
            path="/usr/bin/llama-server",
            version="11434 (abc1234)",
            build=11434,
            flags=FLAGS if flags is None else flags,
            devices=[device] if has_devices else [],
        )
        return Node.objects.create(name=name, hardware=hardware.as_json())

    return make


@pytest.fixture
def on_node(make_model: MakeModel) -> OnNode:
    """Return a function that saves a model of some size on the node, four bits a weight."""

    def make(model_id: str, billions: float, **fields: object) -> DiscoveredModel:
        root, _ = ScanRoot.objects.get_or_create(node=NODE, path="/models")
        values: dict[str, object] = {
            "root": root,
            "size_params": billions,
            "size_bytes": round(billions * 0.6e9),
            "assigned_tier": "fast"
            if billions < 7
            else "balanced"
            if billions < 14
            else "powerful",
            "is_instruct": True,
            "context_length": 131_072,
            "metadata": {
                "block_count": 32,
                "head_count": 32,
                "head_count_kv": 8,
                "key_length": 128,
                "value_length": 128,
                "embedding_length": 4096,
                "vocab_size": 128_000,
            },
            **fields,
        }
        return make_model(model_id, **values)

    return make
