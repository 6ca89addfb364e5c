"""The calls that recommend: which models for a task on a node, and a profile of them."""

from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_app.query_params import read_query
from models_app.task_kinds import TaskKind
from profiles_app.api import author_of
from servers_app.bodies import checked_body
from servers_app.recommend import schema
from servers_app.recommend.places import place_of
from servers_app.recommend.profile import make_profile
from servers_app.recommend.service import DEFAULT_LIMIT, recommend


class RecommendationsView(APIView):
    """Which models fit on a node, the best for a task first, and why."""

    @schema.RECOMMENDATIONS
    def get(self, request: Request) -> Response:
        query = read_query(request, schema.RecommendQuerySerializer)
        found = recommend(place_of(query.get("node", "")), query.get("task", TaskKind.GENERAL))
        return Response(found.as_json(query.get("limit", DEFAULT_LIMIT)))


class RecommendedProfileView(APIView):
    """A profile of what is recommended; it is not activated."""

    scope = "manage"
    permission = "profiles_app.add_profile"

    @schema.PROFILE
    def post(self, request: Request) -> Response:
        values = checked_body(schema.RecommendedProfileSerializer, request.data)
        found = recommend(place_of(values["node"]), values["task"])
        made = make_profile(found, values["name"], author=author_of(request))
        return Response(made.as_json(), status=status.HTTP_201_CREATED)
