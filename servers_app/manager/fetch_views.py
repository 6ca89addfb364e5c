"""The calls under /ai/ that fetch models and measure them."""

from contextlib import suppress
from typing import Any

from django.urls import reverse
from rest_framework import status
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_app.api import wait_seconds
from models_app.download_models import Download, DownloadState
from models_app.downloads.figures import size_text
from models_app.models import DiscoveredModel
from models_app.query_params import read_query
from models_app.queue import require_worker
from profiles_app.api import author_of
from servers_app.bench.service import request_benchmark, wait_for
from servers_app.benchmark_models import Benchmark, BenchmarkState
from servers_app.bodies import checked_body
from servers_app.errors import AmbiguousNameError, UnknownNameError
from servers_app.manager import schema
from servers_app.manager.answers import past_performance
from servers_app.manager.envelope import succeeded
from servers_app.manager.fetching import fetch, progress_of, sentence_of
from servers_app.manager.names import is_whole, name_of, origin_of, resolve
from servers_app.manager.performance import history_of
from servers_app.manager.serializers import (
    BenchmarkRequestSerializer,
    DownloadRequestSerializer,
    HistoryQuerySerializer,
)
from servers_app.manager.switching import switch
from servers_app.manager.views import failure, may_see_paths, require_permission
from servers_app.planning import node_of

DEFAULT_HISTORY = 30


class DownloadModelView(APIView):
    """Fetch a model from the hub, or from Ollama's registry."""

    permission = "models_app.add_download"

    @schema.DOWNLOAD
    def post(self, request: Request) -> Response:
        wait_s = wait_seconds(request)
        asked = checked_body(DownloadRequestSerializer, request.data)
        name, source = asked["model_name"], asked["source"]
        auto_switch: bool = asked["auto_switch"]
        if auto_switch:
            require_permission(request, "profiles_app.change_profile")
        who = author_of(request)
        with suppress(UnknownNameError, AmbiguousNameError):
            model = resolve(name)
            if is_whole(model):
                return _installed(request, model, auto_switch=auto_switch, who=who)
            name, source = origin_of(model), ""
        download = fetch(name, source=source, auto_switch=auto_switch, who=who, wait_s=wait_s)
        is_done = download.state == DownloadState.FINISHED
        return _told(request, download, code=200 if is_done else status.HTTP_202_ACCEPTED)


class DownloadProgressView(APIView):
    """How far a download is."""

    @schema.PROGRESS
    def get(self, request: Request, download_id: int) -> Response:
        rows = Download.objects.select_related("model")
        download = rows.filter(pk=download_id).first() if download_id < 2**63 else None
        if download is None:
            msg = f"Download not found: {download_id}. GET /api/models/downloads lists them."
            raise NotFound(msg)
        return _told(request, download)


class BenchmarkModelView(APIView):
    """Measure how fast a model is."""

    permission = "servers_app.add_benchmark"

    @schema.BENCHMARK
    def post(self, request: Request) -> Response:
        wait_s = wait_seconds(request)
        asked = checked_body(BenchmarkRequestSerializer, request.data)
        model = resolve(asked.pop("model_name"))
        require_worker(node_of(model))
        benchmark = request_benchmark(model, who=author_of(request), **asked)
        benchmark = wait_for(benchmark.pk, seconds=wait_s)
        data = _measured(model, benchmark)
        match benchmark.state:
            case BenchmarkState.FINISHED:
                return Response(succeeded(data, f"{name_of(model)} was measured."))
            case BenchmarkState.FAILED:
                why = benchmark.error or f"The benchmark of {name_of(model)} failed."
                raise failure(why, status.HTTP_502_BAD_GATEWAY, "failed")
            case BenchmarkState.CANCELLED:
                message = f"The benchmark of {name_of(model)} was cancelled."
                raise failure(message, status.HTTP_409_CONFLICT, "cancelled")
        message = f"{name_of(model)} is being measured: {benchmark.note or 'it waits'}."
        return Response(succeeded(data, message), status=status.HTTP_202_ACCEPTED)


class PerformanceHistoryView(APIView):
    """How a model performed, day by day, the newest first."""

    @schema.HISTORY
    def get(self, request: Request) -> Response:
        query = read_query(request, HistoryQuerySerializer)
        model = resolve(query["model_name"])
        rows = history_of(model, query.get("limit", DEFAULT_HISTORY))
        data = {
            "model_name": name_of(model),
            "model_id": model.model_id,
            "history": [past_performance(row) for row in rows],
        }
        return Response(succeeded(data, f"{len(rows)} measurements of {name_of(model)}."))


def _installed(
    request: Request, model: DiscoveredModel, *, auto_switch: bool, who: str
) -> Response:
    """Answer for a model that is here already."""
    if auto_switch:
        switch(model, who=who)
    data: dict[str, Any] = {
        "download_id": None,
        "model_name": name_of(model),
        "status": "installed",
        "progress": 100,
        "download_size": size_text(model.size_bytes),
        "estimated_time_seconds": 0,
        "install_path": model.file_path if may_see_paths(request) else None,
        "model_id": model.model_id,
        "downloaded_bytes": model.size_bytes,
        "total_bytes": model.size_bytes,
        "bytes_per_second": None,
        "auto_switch": auto_switch,
        "error": None,
        "error_code": None,
        "status_url": None,
    }
    return Response(succeeded(data, f"{name_of(model)} is installed already."))


def _told(request: Request, download: Download, code: int = status.HTTP_200_OK) -> Response:
    data = progress_of(download, with_paths=may_see_paths(request))
    data["status_url"] = reverse("ai-download", args=[download.pk])
    return Response(succeeded(data, sentence_of(download)), status=code)


def _measured(model: DiscoveredModel, benchmark: Benchmark) -> dict[str, Any]:
    load_s = benchmark.load_seconds
    return {
        "model_name": name_of(model),
        "model_id": model.model_id,
        "benchmark_id": benchmark.pk,
        "status": benchmark.state,
        "progress": round(100 * benchmark.progress),
        "tokens_per_second": benchmark.generation_tokens_per_s,
        "prompt_tokens_per_second": benchmark.prompt_tokens_per_s,
        "first_token_ms": benchmark.first_token_ms,
        "load_time_ms": None if load_s is None else round(1000 * load_s),
        "memory_mb": benchmark.peak_ram_mib,
        "status_url": f"/api/models/benchmarks/{benchmark.pk}",
    }
