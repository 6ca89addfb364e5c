"""The calls that measure models, and that show and compare what was measured."""

from django.urls import reverse
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_app.api import wait_seconds
from models_app.lookup import get_model
from models_app.query_params import read_query
from models_app.queue import require_worker
from profiles_app.api import author_of
from servers_app.bench import schema, service
from servers_app.bench.comparing import compare
from servers_app.bench.results import get_benchmark
from servers_app.bench.shown import detail_of, outline_of
from servers_app.bench.where import measuring_node
from servers_app.benchmark_models import BENCHMARK_UNDER_WAY, Benchmark
from servers_app.bodies import checked_body


class BenchmarkListView(APIView):
    """Benchmarks, the newest first; a new one."""

    permission = "servers_app.add_benchmark"

    @schema.LIST
    def get(self, request: Request) -> Response:
        query = dict(read_query(request, schema.ListQuerySerializer))
        limit = query.pop("limit", schema.DEFAULT_LIMIT)
        if "model" in query:
            query["model_id"] = query.pop("model")
        rows = Benchmark.objects.filter(**query)
        listed = [outline_of(each) for each in rows.defer("figures", "outcome")[:limit]]
        return Response({"count": rows.count(), "benchmarks": listed})

    @schema.ASK
    def post(self, request: Request) -> Response:
        wait = wait_seconds(request)
        plan = checked_body(schema.BenchmarkAskedSerializer, request.data)
        model = get_model(plan.pop("model_id"))
        require_worker(measuring_node(model))
        benchmark = service.request_benchmark(model, who=author_of(request), **plan)
        benchmark = service.wait_for(benchmark.pk, seconds=wait)
        if benchmark.state in BENCHMARK_UNDER_WAY:
            body = {
                "message": "The benchmark goes on",
                "benchmark_id": benchmark.pk,
                "status_url": reverse("benchmark", args=[benchmark.pk]),
            }
            return Response(body, status=status.HTTP_202_ACCEPTED)
        return Response(detail_of(benchmark))


class BenchmarkView(APIView):
    """One benchmark, with every sample."""

    @schema.SHOW
    def get(self, request: Request, pk: int) -> Response:
        return Response(detail_of(get_benchmark(pk)))


class BenchmarkCancelView(APIView):
    permission = "servers_app.change_benchmark"

    @schema.CANCEL
    def post(self, request: Request, pk: int) -> Response:
        service.cancel_benchmark(get_benchmark(pk), who=author_of(request))
        return Response(outline_of(get_benchmark(pk)))


class BenchmarkCompareView(APIView):
    """Two benchmarks, side by side, and whether they differ by more than noise."""

    @schema.COMPARE
    def get(self, request: Request) -> Response:
        query = read_query(request, schema.CompareQuerySerializer)
        found = compare(get_benchmark(query["a"]), get_benchmark(query["b"]))
        return Response(found.as_json())
