"""What templates/admin/index.html shows: of each part, if who looks may see it."""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from magi_site.dashboard.checkup import health_seen
from magi_site.dashboard.first_steps import first_step
from magi_site.dashboard.happenings import happenings
from magi_site.dashboard.memory import memory_of_nodes
from magi_site.dashboard.registry import (
    Registry,
    enabled_by_tier,
    look_at_registry,
    tier_lines,
)
from magi_site.dashboard.scans import words_of
from magi_site.dashboard.servers import (
    SHOWN,
    is_on_several_nodes,
    lines_of,
    servers_to_show,
    states_of,
)
from magi_site.dashboard.traffic import charts_of_the_hour, speeds
from models_app.models import Scan
from models_app.rescan_admin import rescan_context
from profiles_app.models import Profile, ProfileMember
from profiles_app.services import active_profile
from servers_app.models import RUNNING, Server, ServerState, Wanted

Viewer = User | AnonymousUser
MODELS, SERVERS = "models_app_discoveredmodel", "servers_app_server"


@dataclass(frozen=True, slots=True)
class Tile:
    label: str
    count: int
    url: str
    detail: str = ""
    trouble_url: str = ""  # where one sees what is wrong, if anything is


def dashboard_context(request: HttpRequest) -> dict[str, Any]:
    """Return it, in a number of queries that does not grow with what there is."""
    user, may = request.user, request.user.has_perm
    now = timezone.now()
    profile = active_profile() if may("profiles_app.view_profile") else None
    registry = look_at_registry() if may("models_app.view_discoveredmodel") else None
    servers = servers_to_show() if may("servers_app.view_server") else None
    context: dict[str, Any] = {
        "tiles": [*_of_models(registry), *_of_profile(user, profile), *_of_servers(servers)],
        "first_step": first_step(user, registry, profile),
        "events": happenings(user),
    }
    if may("profiles_app.view_profile"):
        context |= {
            "active_profile": profile,
            "profiles": Profile.objects.order_by("name").only("slug", "name", "is_active"),
        }
    if registry is not None:
        enabled = enabled_by_tier(profile)
        context["tiers"] = tier_lines(registry, enabled)
    if may("models_app.view_scan"):
        context |= {**rescan_context(request), **_last_scan()}
    if servers is not None:
        context |= {
            "servers": lines_of(servers, speeds(now)),
            "more_servers": max(0, len(servers) - SHOWN),
            "has_nodes": is_on_several_nodes(servers),
            "health": health_seen(),
        }
        if may("servers_app.view_node"):
            context["memory"] = memory_of_nodes(servers, profile)
    if may("servers_app.view_usageminute"):
        context["charts"] = charts_of_the_hour(now)
    return context


def _of_models(registry: Registry | None) -> list[Tile]:
    if registry is None:
        return []
    missing = f"{registry.missing:,} missing" if registry.missing else ""
    return [Tile("discovered", registry.present, _list(MODELS), missing)]


def _of_profile(user: Viewer, profile: Profile | None) -> list[Tile]:
    if not user.has_perm("profiles_app.view_profile"):
        return []
    count = ProfileMember.objects.filter(profile=profile).count() if profile else 0
    where = f"in {profile}" if profile else "no profile is active"
    page = reverse("admin:profiles_app_profile_changelist")
    if profile:
        page = reverse("admin:profiles_app_profile_change", args=[profile.pk])
    return [Tile("enabled", count, page, where)]


def _of_servers(servers: list[Server] | None) -> list[Tile]:
    if servers is None:
        return []
    states = states_of(servers)
    wanted = sum(server.wanted == Wanted.RUNNING for server in servers)
    failed = states[ServerState.FAILED] + states[ServerState.UNHEALTHY]
    moving = [
        f"{states[state]} {state.value}"
        for state in (ServerState.STARTING, ServerState.STOPPING)
        if states[state]
    ]
    running = sum(states[state] for state in RUNNING)
    of_wanted = f"of {wanted} wanted" if wanted else ""
    ready = Tile(
        "ready",
        states[ServerState.READY],
        f"{_list(SERVERS)}?state__exact=ready",
        f"{failed} failed or unhealthy" if failed else of_wanted,
        f"{_list(SERVERS)}?state__in=failed,unhealthy" if failed else "",
    )
    return [Tile("running", running, _list(SERVERS), ", ".join(moving)), ready]


def _last_scan() -> dict[str, Any]:
    scan = Scan.objects.defer("report").first()
    return {"last_scan": scan, "last_scan_words": words_of(scan) if scan else ""}


def _list(rows: str) -> str:
    return reverse(f"admin:{rows}_changelist")
