"""Answers of the calls under /ai/ as they may look, for the OpenAPI document."""

from typing import Any, Final

_AT: Final = "2026-11-22T10:45:32.104511+00:00"
_ID: Final = "mistral_7p0b_q4km_balanced"
_SUITS: Final = {"general": 6.1, "coding": 4.9, "analysis": 5.6, "creative": 6.0}


def success(data: dict[str, Any], message: str) -> dict[str, Any]:
    return {"success": True, "data": data, "message": message, "timestamp": _AT}


def failure(code: str, why: str) -> dict[str, Any]:
    return {"success": False, "error": why, "code": code, "message": why, "timestamp": _AT}


_PERFORMANCE: Final[dict[str, Any]] = {
    "tokens_per_second": 28.5,
    "avg_latency_ms": 3512.4,
    "memory_mb": 7168,
    "measured_by": "requests",
    "measured_at": _AT,
}

AVAILABLE: Final = success(
    {
        "installed": [
            {
                "name": "mistral:7b",
                "model_id": _ID,
                "display_name": "MISTRAL 7.0B Q4_K_M",
                "size": "7B",
                "format": "gguf",
                "type": "general-purpose",
                "quantization": "Q4_K_M",
                "size_bytes": 4372812000,
                "enabled": True,
                "status": "active",
                "last_used": _AT,
                "performance": _PERFORMANCE,
                "task_suitability": _SUITS,
            }
        ],
        "available": [
            {
                "name": "llama2:7b",
                "size": "7B",
                "description": "General purpose model",
                "popularity": None,
                "source": "ollama",
                "listed_by": "catalogue",
            }
        ],
        "active_model": "mistral:7b",
    },
    "1 installed, 1 that could be downloaded.",
)
STATUS: Final = success(
    {
        "current_model": "mistral:7b",
        "model_id": _ID,
        "display_name": "MISTRAL 7.0B Q4_K_M",
        "status": "active",
        "error": None,
        "uptime_seconds": 3600,
        "performance": {**_PERFORMANCE, "error_rate": 0.02, "total_requests": 1250},
        "resource_usage": {"memory_mb": 7168, "cpu_percent": 35.2, "memory_percent": 45.3},
        "capabilities": {
            "type": "general-purpose",
            "supports": ["chat", "tools"],
            "max_context": 4096,
            "quantization": "Q4_K_M",
        },
        "task_suitability": _SUITS,
    },
    "mistral:7b is active.",
)
SELECTED: Final = success(
    {
        "task": "coding",
        "model_name": "qwen2.5-coder:7b",
        "model_id": "qwen2p5_coder_7p0b_q4km_balanced",
        "display_name": "QWEN2.5 CODER 7.0B Q4_K_M",
        "score": 7.4,
        "reasons": ["It has 7 billion parameters (+2.0).", "It was trained for code (+2.5)."],
        "enabled": True,
        "task_suitability": {**_SUITS, "coding": 7.4, "vision": None, "embedding": None},
        "candidates": [
            {
                "model_name": "qwen2.5-coder:7b",
                "model_id": "qwen2p5_coder_7p0b_q4km_balanced",
                "score": 7.4,
                "enabled": True,
            }
        ],
    },
    "qwen2.5-coder:7b suits coding best: 7.4 of 10.",
)
SWITCH: Final = {"model_name": "mistral:7b", "auto_pull": True}
_SWITCH: Final[dict[str, Any]] = {
    "previous_model": "smollm2:135m",
    "current_model": "mistral:7b",
    "status": "active",
    "load_time_ms": 234,
    "model_id": _ID,
    "display_name": "MISTRAL 7.0B Q4_K_M",
    "was_loaded": False,
    "download": None,
    "status_url": "/ai/model-status",
}
SWITCHED: Final = success(_SWITCH, "Successfully switched to mistral:7b")
SWITCHING: Final = success(
    {**_SWITCH, "status": "loading", "load_time_ms": None},
    "Switching to mistral:7b. MISTRAL 7.0B Q4_K_M is starting, and wanted running.",
)
DOWNLOAD: Final = {"model_name": "llama2:7b", "auto_switch": False}
DOWNLOADING: Final = success(
    {
        "download_id": 12,
        "model_name": "llama2:7b",
        "status": "downloading",
        "progress": 45,
        "download_size": "3.8 GB",
        "estimated_time_seconds": 120,
        "install_path": "/home/ada/.ollama/models",
        "model_id": None,
        "downloaded_bytes": 1710000000,
        "total_bytes": 3800000000,
        "bytes_per_second": 17416666.7,
        "auto_switch": False,
        "error": None,
        "error_code": None,
        "status_url": "/ai/download-model/12",
    },
    "Download in progress...",
)
MEASURED: Final = success(
    {
        "model_name": "mistral:7b",
        "model_id": _ID,
        "benchmark_id": 3,
        "status": "finished",
        "progress": 100,
        "tokens_per_second": 28.5,
        "prompt_tokens_per_second": 310.2,
        "first_token_ms": 412.0,  # nosec B105
        "load_time_ms": 2310,
        "memory_mb": 7168,
        "status_url": "/api/models/benchmarks/3",
    },
    "mistral:7b was measured.",
)
HISTORY: Final = success(
    {
        "model_name": "mistral:7b",
        "model_id": _ID,
        "history": [
            {
                "timestamp": _AT,
                "performance": {
                    "tokens_per_second": 28.5,
                    "avg_latency_ms": 3512.4,
                    "error_rate": 0.02,
                    "total_requests": 1250,
                },
                "resource_usage": {
                    "memory_mb": 7168,
                    "cpu_percent": 35.2,
                    "memory_percent": 45.3,
                },
                "benchmarks": {"generation_tokens_per_s": 29.1},
                "task_suitability": _SUITS,
            }
        ],
    },
    "1 measurements of mistral:7b.",
)
