"""The calls that search for faster run settings, and take over what was found."""

from django.urls import reverse
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_app.api import wait_seconds
from models_app.lookup import get_model
from models_app.queue import require_worker
from profiles_app.api import author_of
from servers_app.bench.results import get_benchmark
from servers_app.bench.service import wait_for
from servers_app.bench.where import measuring_node
from servers_app.benchmark_models import BENCHMARK_UNDER_WAY
from servers_app.bodies import checked_body
from servers_app.tuning import schema
from servers_app.tuning.applying import apply_tuning
from servers_app.tuning.service import request_tuning
from servers_app.tuning.shown import as_json


class TuneView(APIView):
    """Search for faster run settings of a model."""

    permission = "servers_app.add_benchmark"

    @schema.ASK
    def post(self, request: Request) -> Response:
        wait = wait_seconds(request)
        plan = checked_body(schema.TuningAskedSerializer, request.data)
        model = get_model(plan.pop("model_id"))
        require_worker(measuring_node(model))
        benchmark = request_tuning(model, who=author_of(request), **plan)
        benchmark = wait_for(benchmark.pk, seconds=wait)
        if benchmark.state in BENCHMARK_UNDER_WAY:
            body = {
                "message": "The search goes on",
                "benchmark_id": benchmark.pk,
                "status_url": reverse("benchmark", args=[benchmark.pk]),
            }
            return Response(body, status=status.HTTP_202_ACCEPTED)
        return Response(as_json(benchmark))


class ApplyTuningView(APIView):
    """Write what a search found into the run settings of its model."""

    permission = "profiles_app.change_modelrunsettings"

    @schema.APPLY
    def post(self, request: Request, pk: int) -> Response:
        applied = apply_tuning(get_benchmark(pk), who=author_of(request))
        return Response(
            {
                "message": applied.sentence,
                "settings": applied.settings,
                "overruled": applied.overruled,
            }
        )
