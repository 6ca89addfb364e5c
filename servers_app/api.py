from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from servers_app.models import RUNNING, Server, ServerState
from servers_app.registry import registry_as_json


class RegistryView(APIView):
    """Every model that was found, with whether it is enabled and what its server does."""

    def get(self, request: Request) -> Response:
        return Response(registry_as_json())


class ServerListView(APIView):
    """The servers that run or should run."""

    def get(self, request: Request) -> Response:
        servers = [
            _server(server)
            for server in Server.objects.select_related("model").exclude(
                state=ServerState.STOPPED, wanted="stopped"
            )
        ]
        return Response(
            {
                "total_servers": len(servers),
                "ready_servers": sum(server["is_ready"] for server in servers),
                "servers": servers,
            }
        )


def _server(server: Server) -> dict[str, Any]:
    is_running = server.state in RUNNING and server.pid is not None
    since = server.launched_at if is_running else None
    uptime = int((timezone.now() - since).total_seconds()) if since else 0
    return {
        "model_id": server.model.model_id,
        "display_name": server.model.display_name,
        "port": server.port,
        "pid": server.pid,
        "is_ready": server.state == ServerState.READY,
        "is_running": is_running,
        "uptime_seconds": uptime,
        "state": server.state,
        "node": server.node,
        "restarts": server.restarts,
        "last_error": server.last_error or None,
    }
