"""The calls that look for models at the hub."""

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_app.hubsearch.searching import SORTS, USUAL_FOUND, search_hub
from models_app.query_params import read_query
from servers_app import hub_schema
from servers_app.hub_quants import quants_here


class HubSearchView(APIView):
    """Repos with GGUF models whose names have some words."""

    asks_a_hub = True

    @hub_schema.SEARCH
    def get(self, request: Request) -> Response:
        query = read_query(request, hub_schema.SearchQuerySerializer)
        words = query.get("q", "")
        found = search_hub(
            words, limit=query.get("limit", USUAL_FOUND), sort=query.get("sort", SORTS[0])
        )
        return Response(
            {"query": words, "count": len(found), "repos": [repo.as_json() for repo in found]}
        )


class HubQuantsView(APIView):
    """The quantizations of a repo, with their sizes, and whether they fit here."""

    asks_a_hub = True

    @hub_schema.QUANTS
    def get(self, request: Request) -> Response:
        query = read_query(request, hub_schema.QuantsQuerySerializer)
        found = quants_here(
            query["repo"], revision=query.get("revision", ""), node=query.get("node", "")
        )
        return Response(found.as_json())
