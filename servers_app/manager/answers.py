"""What the calls under /ai/ say of models, in the words of seed 004."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from models_app.models import DiscoveredModel, ModelKind
from servers_app.figures import uptime_s
from servers_app.following import error_line
from servers_app.manager.available import fetchable, size_text
from servers_app.manager.current import current_model
from servers_app.manager.names import name_of
from servers_app.manager.performance import last_used, measure, performance_of
from servers_app.manager.suitability import enabled_ids
from servers_app.manager_models import ModelPerformance
from servers_app.models import Server, ServerState

_GEMMA: Final = ".sbs"  # weights of gemma.cpp
_WORDS: Final[Mapping[str, str]] = {
    ServerState.READY: "active",
    ServerState.UNHEALTHY: "unhealthy",
    ServerState.STARTING: "loading",
    ServerState.STOPPING: "stopping",
    ServerState.FAILED: "failed",
    ServerState.STOPPED: "stopped",
}
_UNREACHABLE: Final = "unreachable"  # its node is silent: nobody knows how it is
# The furthest first: of several servers of a model, that one is told of.
_FURTHEST: Final = (
    "active", "unhealthy", "loading", "stopping", _UNREACHABLE, "failed", "stopped",
)  # fmt: skip
NO_MODEL: Final = "none"


def available_models(*, refresh: bool = False) -> dict[str, Any]:
    """Return what is here, what could be fetched, and which model is the current one."""
    rows = DiscoveredModel.objects.filter(is_missing=False).defer("metadata", "warnings")
    models = list(rows.select_related("root"))
    performance, used = performance_of(models, refresh=refresh), last_used(models)
    servers, enabled, current = _servers(models), enabled_ids(), current_model()
    here = {name.lower() for model in models for name in (name_of(model), model.repo_id)}
    return {
        "installed": [
            {
                **_of(model),
                "enabled": model.model_id in enabled,
                "status": status_of(servers.get(model.pk)),
                "last_used": _iso(used.get(model.pk)),
                "performance": _performance(performance[model.pk]),
                "task_suitability": performance[model.pk].task_suitability,
            }
            for model in models
        ],
        "available": fetchable(here),
        "active_model": None if current is None else name_of(current),
    }


def model_status() -> dict[str, Any]:
    """Return how the current model is now; all null but `status` where there is none."""
    model = current_model()
    if model is None:
        return dict.fromkeys(_STATUS_FIELDS) | {"status": NO_MODEL}
    server, measured = _servers([model]).get(model.pk), measure([model])[model.pk]
    status = status_of(server)
    is_up = status in (_WORDS[ServerState.READY], _WORDS[ServerState.UNHEALTHY])
    return {
        "current_model": name_of(model),
        "model_id": model.model_id,
        "display_name": model.display_name,
        "status": status,
        "error": (error_line(server) or None) if server is not None else None,
        "uptime_seconds": uptime_s(server) if server is not None and is_up else None,
        "performance": {
            **_performance(measured),
            "error_rate": measured.error_rate,
            "total_requests": measured.total_requests,
        },
        "resource_usage": {
            "memory_mb": measured.memory_mb,
            "cpu_percent": measured.cpu_percent,
            "memory_percent": measured.memory_percent,
        },
        "capabilities": {
            "type": type_of(model),
            "supports": supports(model),
            "max_context": _context(server) or model.context_length,
            "quantization": model.quantization or None,
        },
        "task_suitability": measured.task_suitability,
    }


_STATUS_FIELDS: Final = (
    "current_model", "model_id", "display_name", "status", "error", "uptime_seconds",
    "performance", "resource_usage", "capabilities", "task_suitability",
)  # fmt: skip


def type_of(model: DiscoveredModel) -> str:
    """Return what a model is for, in a word of the seed's."""
    by_kind = {
        ModelKind.EMBEDDING: "embedding",
        ModelKind.RERANKER: "reranking",
        ModelKind.VISION: "vision",
    }
    if (word := by_kind.get(ModelKind(model.kind))) is not None:
        return word
    if model.is_coder:
        return "code-generation"
    return "reasoning" if model.is_thinking else "general-purpose"


def supports(model: DiscoveredModel) -> list[str]:
    """Return what can be asked of a model, as its file says."""
    if model.kind == ModelKind.EMBEDDING:
        return ["embeddings"]
    if model.kind == ModelKind.RERANKER:
        return ["reranking"]
    said = {
        "chat": True,
        "code": model.is_coder,
        "tools": model.supports_tools,
        "thinking": model.is_thinking or model.supports_thinking,
        "images": bool(model.projector_path),
    }
    return [word for word, is_so in said.items() if is_so]


def status_of(server: Server | None) -> str:
    if server is None:
        return _WORDS[ServerState.STOPPED]
    return _WORDS[server.state] if server.unreachable_since is None else _UNREACHABLE


def past_performance(row: ModelPerformance) -> dict[str, Any]:
    """Return what was kept of a model at some time."""
    return {
        "timestamp": _iso(row.at),
        "performance": {
            "tokens_per_second": row.tokens_per_second,
            "avg_latency_ms": row.avg_latency_ms,
            "error_rate": row.error_rate,
            "total_requests": row.total_requests,
        },
        "resource_usage": {
            "memory_mb": row.memory_mb,
            "cpu_percent": row.cpu_percent,
            "memory_percent": row.memory_percent,
        },
        "benchmarks": row.benchmarks,
        "task_suitability": row.task_suitability,
    }


def _of(model: DiscoveredModel) -> dict[str, Any]:
    return {
        "name": name_of(model),
        "model_id": model.model_id,
        "display_name": model.display_name,
        "size": size_text(model.size_params),
        "format": "sbs" if model.filename.endswith(_GEMMA) else "gguf",
        "type": type_of(model),
        "quantization": model.quantization or None,
        "size_bytes": model.size_bytes,
    }


def _performance(row: ModelPerformance) -> dict[str, Any]:
    """Return the figures of requests, and where there were none those of a benchmark."""
    benchmark: Mapping[str, Any] = row.benchmarks
    tokens_per_s, by = row.tokens_per_second, "requests"
    if tokens_per_s is None:
        tokens_per_s, by = benchmark.get("generation_tokens_per_s"), "benchmark"
    memory = row.memory_mb
    return {
        "tokens_per_second": tokens_per_s,
        "avg_latency_ms": row.avg_latency_ms,
        "memory_mb": benchmark.get("peak_ram_mib") if memory is None else memory,
        "measured_by": by if tokens_per_s is not None else None,
        "measured_at": _iso(row.at) if tokens_per_s is not None else None,
    }


def _servers(models: Sequence[DiscoveredModel]) -> dict[int, Server]:
    """Return the server of each model that is furthest, of those that it has."""
    rows = Server.objects.filter(model__in=models).defer("argv", "log_tail")
    furthest_last = sorted(rows, key=lambda server: -_FURTHEST.index(status_of(server)))
    return {server.model_id: server for server in furthest_last}


def _context(server: Server | None) -> int | None:
    if server is None or server.state != ServerState.READY:
        return None
    tokens = server.facts.get("n_ctx")
    return tokens if isinstance(tokens, int) else None


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
