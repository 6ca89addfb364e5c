"""The calls that compare two models, and by which people vote."""

from typing import Any

from django.db.models import Q
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
from servers_app.bench.where import measuring_node
from servers_app.benchmark_models import BENCHMARK_UNDER_WAY
from servers_app.bodies import checked_body
from servers_app.comparing import schema, service, votes
from servers_app.comparing.prompts import Prompt, shipped
from servers_app.comparing.shown import detail_of, outline_of, outlines_of, prompt_shown
from servers_app.comparison_models import Comparison


class ComparisonListView(APIView):
    """Comparisons, the newest first; a new one."""

    permission = "servers_app.add_comparison"

    @schema.LIST
    def get(self, request: Request) -> Response:
        query = read_query(request, schema.ListQuerySerializer)
        rows = Comparison.objects.all()
        if model := query.get("model"):
            rows = rows.filter(Q(model_a=model) | Q(model_b=model))
        if state := query.get("state"):
            rows = rows.filter(state=state)
        limit = query.get("limit", schema.DEFAULT_LIMIT)
        listed = outlines_of(list(rows[:limit]))
        return Response({"count": rows.count(), "comparisons": listed})

    @schema.ASK
    def post(self, request: Request) -> Response:
        wait = wait_seconds(request)
        asked = checked_body(schema.AskedSerializer, request.data)
        model_a, model_b = get_model(asked["model_a"]), get_model(asked["model_b"])
        require_worker(measuring_node(model_a))
        comparison = service.request_comparison(
            model_a,
            model_b,
            _prompts(asked),
            name=asked["name"],
            settings=asked.get("settings", {}),
            who=author_of(request),
        )
        comparison = service.wait_for(comparison.pk, seconds=wait)
        if comparison.state in BENCHMARK_UNDER_WAY:
            body = {
                "message": "The comparison goes on",
                "comparison_id": comparison.pk,
                "status_url": reverse("comparison", args=[comparison.pk]),
            }
            return Response(body, status=status.HTTP_202_ACCEPTED)
        return Response(detail_of(comparison, who=author_of(request)))


class ComparisonView(APIView):
    """One comparison, side by side, as the caller may see it."""

    @schema.SHOW
    def get(self, request: Request, pk: int) -> Response:
        return Response(detail_of(service.get_comparison(pk), who=author_of(request)))


class ComparisonCancelView(APIView):
    permission = "servers_app.change_comparison"

    @schema.CANCEL
    def post(self, request: Request, pk: int) -> Response:
        service.cancel_comparison(service.get_comparison(pk), who=author_of(request))
        return Response(outline_of(service.get_comparison(pk)))


class ComparisonVoteView(APIView):
    permission = "servers_app.add_vote"

    @schema.VOTE
    def post(self, request: Request, pk: int) -> Response:
        comparison = service.get_comparison(pk)
        asked = checked_body(schema.VoteSerializer, request.data)
        prompt = service.get_prompt(comparison, asked["position"])
        votes.cast(prompt, asked["vote"], who=author_of(request))
        return Response(prompt_shown(prompt, who=author_of(request)))


def _prompts(asked: dict[str, Any]) -> list[Prompt]:
    if "prompts" not in asked:
        return shipped(asked["task"])
    return [Prompt(each["prompt"], each["task"]) for each in asked["prompts"]]
