"""Nodes for tests: rows with a heartbeat, memory and engines, and models with copies there."""

from typing import Any

from django.db.models.functions import Now

from models_app.copy_models import ModelCopy
from models_app.models import DiscoveredModel
from servers_app.engine.binary import find_engine
from servers_app.engine.builds import capabilities
from servers_app.models import EngineBuild, Node

GIB = 2**30
PROGRAM = "/opt/llama-server"


def make_node(name: str, *, gib: int = 64, is_alive: bool = True, **fields: Any) -> Node:
    """Save a node with memory, and a worker that has just said that it is there."""
    node = Node.objects.create(
        name=name,
        hardware={"total_bytes": gib * GIB, "available_bytes": gib * GIB},
        **{"facts": {"memory_reserve_mib": 0}, **fields},
    )
    if is_alive:
        Node.objects.filter(pk=node.pk).update(heartbeat_at=Now())
    return node


def copy_to(model: DiscoveredModel, *nodes: str) -> None:
    """Have nodes have the files of a model, each in a folder of its own."""
    for node in nodes:
        path = f"/{node}/{model.model_id}.gguf"
        ModelCopy.objects.create(model=model, node=node, file_path=path, blob_path=path)


def give_engine(node: str, *, lacks: str = "", cores: int = 8, also: str = "") -> None:
    """Have a node say that it has a llama-server that can do what this one's can.

    Args:
        lacks: a flag that it does not have.
        also: another name for it, that profiles may give.
    """
    known = capabilities(find_engine())
    engine = {"command": [PROGRAM], "path": PROGRAM, "problem": ""}
    engines = {"": engine, also: engine}
    row = Node.objects.get(name=node)
    facts = {**row.facts, "engines": engines, "cores": cores}
    Node.objects.filter(pk=row.pk).update(facts=facts)
    flags = {flag: value for flag, value in known.flags.items() if flag != lacks}
    EngineBuild.objects.create(node=node, path=PROGRAM, version="other", flags=flags)
