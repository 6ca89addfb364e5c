"""What is asked on the dashboard: another profile, all servers started, stopped or anew.

What stops or starts many is asked for on a page in between, which says what it would do.
"""

from typing import Any, Final

from django.contrib import messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern

from magi_site.operations import all_servers
from magi_site.pages.page import AdminPage, page_url
from models_app.errors import QueueUnavailableError
from profiles_app.errors import NoActiveProfileError
from profiles_app.models import Profile
from profiles_app.services import active_profile
from servers_app.figures import span, title_of, uptime
from servers_app.following import WHEN_BACK
from servers_app.gateway.current import in_flight_of
from servers_app.models import Server, ServerState, Wanted
from servers_app.planning import Plan, Step, make_plan
from servers_app.services import Activation, request_start_all, request_stop_all

INDEX: Final = "admin:index"
WHY: Final = "in the admin, for all"
RUNS_ALREADY: Final = (Step.STAY, Step.RESTART)


class SwitchPage(AdminPage):
    """Lead to the plan of the profile that was chosen: nothing is activated unseen."""

    permission = "profiles_app.view_profile"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        slug = request.GET.get("profile", "")
        profile = Profile.objects.filter(slug=slug).first()
        if profile is None:
            messages.error(request, "Choose one of the profiles that there are.")
            return redirect(INDEX)
        return redirect("admin:profiles_app_profile_plan", profile.pk)


class StartAllPage(AdminPage):
    """Say what starting all would start, and do it."""

    title = "Start all servers?"
    permission = "servers_app.change_server"
    template_name = "admin/magi/dashboard_start_all.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        profile = active_profile()
        plan = make_plan(profile) if profile else None
        return super().get_context_data(
            profile=profile, **(_started_by(plan) if plan else {}), **kwargs
        )

    def post(self, request: HttpRequest) -> HttpResponse:
        try:
            activation = request_start_all(who=request.user.get_username())
        except NoActiveProfileError as error:
            messages.error(request, f"Not started: {error}")
        except QueueUnavailableError as error:
            messages.warning(request, f"{error} {WHEN_BACK}")
        else:
            _tell(request, activation)
        return redirect(INDEX)


class StopAllPage(AdminPage):
    """Say what stopping all would stop, and do it."""

    title = "Stop all servers?"
    permission = "servers_app.change_server"
    template_name = "admin/magi/dashboard_stop_all.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        # As services.request_stop_all has them, those among them whose stop is cut short.
        stopped = Server.objects.select_related("model").defer("model__metadata", "log_tail")
        servers = stopped.filter(Q(wanted=Wanted.RUNNING) | Q(state=ServerState.STOPPING))
        return super().get_context_data(
            **_lines(list(servers)),
            offered=Server.objects.filter(on_request=True, wanted=Wanted.STOPPED).count(),
            **kwargs,
        )

    def post(self, request: HttpRequest) -> HttpResponse:
        at_once = "at_once" in request.POST
        who = request.user.get_username()
        try:
            servers = request_stop_all(who=who, why=WHY, at_once=at_once)
        except QueueUnavailableError as error:
            messages.warning(request, f"{error} {WHEN_BACK}")
        else:
            how = " at once" if at_once else ""
            messages.success(request, f"Stopping {_servers(len(servers))}{how}.")
        return redirect(INDEX)


class RestartAllPage(AdminPage):
    """Say what restarting all would restart, and do it."""

    title = "Restart all servers?"
    permission = "servers_app.change_server"
    template_name = "admin/magi/dashboard_restart_all.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**_lines(all_servers.wanted()), **kwargs)

    def post(self, request: HttpRequest) -> HttpResponse:
        try:
            who = request.user.get_username()
            asked, refused = all_servers.request_restart_all(who=who, why=WHY)
        except QueueUnavailableError as error:
            messages.warning(request, f"{error} {WHEN_BACK}")
        else:
            messages.success(request, f"Restarting {_servers(len(asked))}.")
            for server, why in refused:
                messages.warning(request, f"Not restarted: {title_of(server)}: {why}")
        return redirect(INDEX)


def dashboard_urls() -> list[URLPattern]:
    return [
        page_url("switch/", SwitchPage, "switch_profile"),
        page_url("start-all/", StartAllPage, "start_all"),
        page_url("stop-all/", StopAllPage, "stop_all"),
        page_url("restart-all/", RestartAllPage, "restart_all"),
    ]


def _lines(servers: list[Server]) -> dict[str, Any]:
    """Return what is said of servers before they are stopped, and of their requests."""
    busy = {server.pk: in_flight_of(server.pk) or 0 for server in servers}
    return {
        "lines": [
            (server, title_of(server), uptime(server), busy[server.pk]) for server in servers
        ],
        "busy": sum(busy.values()),
        "drain": span((active_profile() or Profile()).drain_seconds),
    }


def _started_by(plan: Plan) -> dict[str, Any]:
    """Return what starting all makes of a plan: it stops and restarts nothing."""
    wishes = [wish for wish in plan.wishes if wish.step != Step.STOP]
    return {
        "starting": [wish for wish in wishes if wish.step in (Step.START, Step.ON_REQUEST)],
        "running": [wish for wish in wishes if wish.step in RUNS_ALREADY],
        "refused": [wish for wish in wishes if wish.step == Step.REFUSED],
        "missing": plan.missing,
    }


def _tell(request: HttpRequest, activation: Activation) -> None:
    messages.success(request, f"Wanted running: {_servers(len(activation.started))}.")
    for model_id, why in activation.refused:
        messages.warning(request, f"Not started: {model_id}: {why}")
    for model_id in activation.missing:
        messages.warning(request, f"Not started: no model here has the id {model_id}.")


def _servers(count: int) -> str:
    return "1 server" if count == 1 else f"{count} servers"
