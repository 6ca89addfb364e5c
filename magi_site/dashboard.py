from typing import TypedDict

from django.db.models import Max

from models_app.models import DiscoveredModel, ScanRoot
from profiles_app.models import Profile, ProfileMember
from servers_app.models import RUNNING, Server, ServerState


class DashboardContext(TypedDict):
    tiles: list[tuple[str, int]]
    servers: list[Server]
    active_profile: Profile | None
    last_scan_at: object


def dashboard_context() -> DashboardContext:
    """Return what `templates/admin/index.html` shows, in a fixed number of queries."""
    servers = list(Server.objects.select_related("model").exclude(state=ServerState.STOPPED))
    enabled = ProfileMember.objects.filter(profile__is_active=True)
    return {
        "tiles": [
            ("discovered", DiscoveredModel.objects.filter(is_missing=False).count()),
            ("enabled", enabled.count()),
            ("running", sum(server.state in RUNNING for server in servers)),
            ("ready", sum(server.state == ServerState.READY for server in servers)),
        ],
        "servers": servers,
        "active_profile": Profile.objects.filter(is_active=True).first(),
        "last_scan_at": ScanRoot.objects.aggregate(at=Max("last_scan_at"))["at"],
    }
