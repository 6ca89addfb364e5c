from typing import Any

from django.db.models import Max
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_app.models import DiscoveredModel, ScanRoot
from models_app.serializers import ModelSerializer
from models_app.tiers import FAST_MAX, POWERFUL_MIN
from profiles_app.models import ProfileMember
from servers_app.models import RUNNING, Server, ServerState
from servers_app.ports import port_range


class RegistryView(APIView):
    """Every model that was found, with whether it is enabled and what its server does."""

    def get(self, request: Request) -> Response:
        enabled = set(
            ProfileMember.objects.filter(profile__is_active=True).values_list(
                "model_id", flat=True
            )
        )
        states = dict(Server.objects.values_list("model__model_id", "state"))
        models = {
            model.model_id: {
                **ModelSerializer(model).data,
                "enabled": model.model_id in enabled,
                "state": states.get(model.model_id, ServerState.STOPPED),
            }
            for model in DiscoveredModel.objects.all()
        }
        roots = ScanRoot.objects.filter(is_enabled=True)
        ports = port_range()
        return Response(
            {
                "models": models,
                "scan_path": ", ".join(roots.values_list("path", flat=True)),
                "last_scan": roots.aggregate(at=Max("last_scan_at"))["at"],
                "port_range": [ports.start, ports.stop - 1],
                "tier_thresholds": {"powerful_min": POWERFUL_MIN, "fast_max": FAST_MAX},
            }
        )


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
