"""The command line of one llama-server. The only module that spells its flags."""

import os

from models_app.models import DiscoveredModel, ModelKind
from servers_app.engine.binary import Engine
from servers_app.ports import LOOPBACK

# The guide's values (seed 000, Phase 4), clamped below to the model and the machine.
CTX_SIZE = 32768  # tokens
N_GPU_LAYERS = 99
THREADS = 8
BATCH_SIZE = 512
UBATCH_SIZE = 256


def server_argv(engine: Engine, model: DiscoveredModel, port: int) -> list[str]:
    """Return the argv that serves `model` on loopback at `port`.

    Only flags that every build since 2024 takes: host, port, context, alias and
    slots are always given, because newer builds read them from configuration
    files otherwise. No key: argv can be read by every user of the machine.
    """
    argv = [
        *engine.command,
        *("--model", model.file_path),
        *("--alias", model.model_id),
        *("--host", LOOPBACK),
        *("--port", str(port)),
        *("--ctx-size", str(ctx_size(model))),
        *("--n-gpu-layers", str(N_GPU_LAYERS)),
        *("--threads", str(threads())),
        *("--batch-size", str(BATCH_SIZE)),
        *("--ubatch-size", str(UBATCH_SIZE)),
        *("--parallel", "1"),
    ]
    if model.kind == ModelKind.EMBEDDING:
        argv.append("--embeddings")
    elif model.kind == ModelKind.RERANKER:
        argv.append("--reranking")
    return argv


def ctx_size(model: DiscoveredModel) -> int:
    """Return the context in tokens: the guide's, or the model's own if that is shorter."""
    return min(CTX_SIZE, model.context_length or CTX_SIZE)


def threads() -> int:
    """Return how many threads generate: the guide's 8, but one core less than there are.

    llama.cpp's threads spin while they wait for each other. With every core taken,
    one other busy process makes generation thirty times slower (measured on two cores).
    """
    return max(1, min(THREADS, (os.cpu_count() or 2) - 1))
