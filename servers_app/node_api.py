"""The calls that show nodes, and say whether one gets new servers."""

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from profiles_app.api import author_of
from servers_app import node_schema
from servers_app.models import Server, ServerState, Wanted
from servers_app.node_list import shown
from servers_app.node_service import find_node, set_cordoned
from servers_app.serializers import ServerSerializer


class NodeListView(APIView):
    """All nodes, each with how it is."""

    @node_schema.LIST
    def get(self, request: Request) -> Response:
        nodes = [node.as_json() for node in shown()]
        return Response({"count": len(nodes), "nodes": nodes})


class NodeView(APIView):
    """One node, with the servers that run there or should."""

    @node_schema.SHOW
    def get(self, request: Request, name: str) -> Response:
        return Response(_detail(name))


class CordonView(APIView):
    """Have no server placed on a node from now on; those there stay."""

    permission = "servers_app.change_server"

    @node_schema.CORDON
    def post(self, request: Request, name: str) -> Response:
        set_cordoned(name, cordoned=True, who=author_of(request))
        return Response(_detail(name))


class UncordonView(APIView):
    """Have servers placed on a node again."""

    permission = "servers_app.change_server"

    @node_schema.UNCORDON
    def post(self, request: Request, name: str) -> Response:
        set_cordoned(name, cordoned=False, who=author_of(request))
        return Response(_detail(name))


def _detail(name: str) -> dict[str, object]:
    (node,) = shown([find_node(name)])
    servers = Server.objects.select_related("model").filter(node=name)
    servers = servers.exclude(state=ServerState.STOPPED, wanted=Wanted.STOPPED)
    return {**node.as_json(), "server_list": ServerSerializer(servers, many=True).data}
