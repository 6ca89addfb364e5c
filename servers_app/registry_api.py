"""The calls that show models: all of them, some, those of a tier, one."""

from collections.abc import Mapping
from typing import Any, cast

from django.core.paginator import EmptyPage, Paginator
from django.db.models import QuerySet
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_app.models import DiscoveredModel, Tier
from models_app.query_params import read_query
from servers_app import registry_schema
from servers_app.model_filters import (
    DEFAULT_PAGE_SIZE,
    ModelQuerySerializer,
    RegistryQuerySerializer,
    chosen_models,
)
from servers_app.registry import list_as_json, model_as_json, registry_as_json

MAX_SHOWN_CHARS = 100


class RegistryView(APIView):
    """Every model that was found, with whether it is enabled and what its server does."""

    @registry_schema.REGISTRY
    def get(self, request: Request) -> Response:
        query = read_query(request, RegistryQuerySerializer)
        models = chosen_models(query)
        if "page" not in query and "page_size" not in query:
            return Response(registry_as_json(models))
        page, around = _page(request, models, query)
        return Response({**registry_as_json(page), **around})


class ModelView(APIView):
    """One model with all its metadata."""

    @registry_schema.MODEL
    def get(self, request: Request, model_id: str) -> Response:
        return Response(model_as_json(model_id))


class TierView(APIView):
    """The models whose effective tier it is."""

    @registry_schema.TIER
    def get(self, request: Request, tier: str) -> Response:
        if tier not in Tier.values:
            accepted = ", ".join(Tier.values)
            detail = f"Invalid tier: {tier[:MAX_SHOWN_CHARS]}. Must be one of: {accepted}"
            raise ValidationError({"detail": detail})
        query = {**read_query(request, ModelQuerySerializer), "tier": tier}
        return Response(list_as_json(chosen_models(query)))


def _page(
    request: Request, models: QuerySet[DiscoveredModel], query: Mapping[str, Any]
) -> tuple[QuerySet[DiscoveredModel], dict[str, Any]]:
    """Return the models of a page, and what tells of the others.

    Raises:
        NotFound: there are not so many pages.
    """
    number = query.get("page", 1)
    paginator = Paginator(models, query.get("page_size", DEFAULT_PAGE_SIZE))
    try:
        page = paginator.page(number)
    except EmptyPage as error:
        there_are = "is 1 page" if paginator.num_pages == 1 else f"are {paginator.num_pages}"
        msg = f"page={number}: there {there_are}."
        raise NotFound(msg) from error
    around = {
        "count": paginator.count,
        "next": _url(request, number + 1) if page.has_next() else None,
        "previous": _url(request, number - 1) if page.has_previous() else None,
    }
    return cast("QuerySet[DiscoveredModel]", page.object_list), around


def _url(request: Request, page: int) -> str:
    parameters = request.query_params.copy()
    parameters["page"] = str(page)
    return f"{request.path}?{parameters.urlencode()}"
