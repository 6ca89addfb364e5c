"""The models' own pages, with what the active profile and the servers make of them."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import (
    Case,
    Exists,
    IntegerField,
    OuterRef,
    Prefetch,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from models_app.admin import DiscoveredModelAdmin
from models_app.errors import ModelsError, QueueUnavailableError
from models_app.models import DiscoveredModel
from models_app.override_actions import named
from models_app.override_fields import MAX_DIGITS
from profiles_app.errors import ProfilesError
from profiles_app.models import ProfileMember
from profiles_app.services import active_profile
from servers_app import services
from servers_app.bench.model_card import of_model
from servers_app.copy_admin import copy_context, copy_view
from servers_app.errors import ServersError
from servers_app.figures import memory, uptime
from servers_app.following import WHEN_BACK, error_line
from servers_app.lookup import require_node
from servers_app.model_page import memberships, memory_table, usage
from servers_app.models import Server, ServerState, Wanted
from servers_app.registry import MOST_ALIVE
from servers_app.server_admin import all_buttons, state_badge
from servers_app.server_asks import WHY, ask_each, confirm
from servers_app.server_move import choices_for

ENABLE = "profiles_app.change_profile"
RUN = "servers_app.change_server"
_RANKS = {state: rank for rank, state in enumerate(MOST_ALIVE)}
_RANK = Case(
    *(When(state=state, then=Value(rank)) for state, rank in _RANKS.items()),
    output_field=IntegerField(),
)


class EnabledFilter(admin.SimpleListFilter):
    title = "enabled"
    parameter_name = "enabled"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes"), ("no", "No")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() in ("yes", "no"):
            return queryset.filter(is_enabled=self.value() == "yes")
        return queryset


class StateFilter(admin.SimpleListFilter):
    title = "server"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        states = [(state.value, str(state.label)) for state in MOST_ALIVE]
        return [*states, ("none", "Never started")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None:
            return queryset
        servers = Server.objects.filter(model=OuterRef("pk"))
        if self.value() == "none":
            return queryset.filter(~Exists(servers))
        return queryset.filter(Exists(servers.filter(state=self.value())))


class EnablableModelAdmin(DiscoveredModelAdmin):
    """The models' own page, with what the active profile makes of them."""

    columns = ("enabled_shown", *DiscoveredModelAdmin.columns)
    list_display = columns
    list_filter = (EnabledFilter, StateFilter, *DiscoveredModelAdmin.list_filter)
    actions = (
        "enable_selected",
        "disable_selected",
        "start_selected",
        "stop_selected",
        *DiscoveredModelAdmin.actions,
    )

    # -- the list

    def get_queryset(self, request: HttpRequest) -> QuerySet[DiscoveredModel]:
        queryset = super().get_queryset(request)
        match = request.resolver_match
        if match is None or not (match.url_name or "").endswith("changelist"):
            return queryset
        active = ProfileMember.objects.filter(
            profile__is_active=True, model_id=OuterRef("model_id")
        )
        ranks = Server.objects.filter(model=OuterRef("pk")).order_by().annotate(rank=_RANK)
        servers = Server.objects.defer("log_tail", "argv", "facts", "last_error")
        return queryset.annotate(
            is_enabled=Exists(active),
            server_rank=Subquery(ranks.order_by("rank").values("rank")[:1]),
        ).prefetch_related(Prefetch("servers", servers, to_attr="known_servers"))

    def get_list_display(self, request: HttpRequest) -> Any:
        names = super().get_list_display(request)
        if not request.user.has_perm(ENABLE):
            return names
        return ["enabled_field" if name == "enabled_shown" else name for name in names]

    @admin.display(description="Enabled", ordering="is_enabled")
    def enabled_shown(self, obj: DiscoveredModel) -> str:
        if not getattr(obj, "is_enabled", False):
            return "-"
        return format_html('<span class="magi-badge magi-enabled">{}</span>', "enabled")

    @admin.display(description="Enabled", ordering="is_enabled")
    def enabled_field(self, obj: DiscoveredModel) -> str:
        is_enabled = getattr(obj, "is_enabled", False)
        why = "" if is_enabled or obj.is_launchable else obj.problem or "its file is missing"
        return format_html(
            '<input type="checkbox" id="enabled-{0}" name="enabled" value="{0}" '
            'aria-label="Enable {1}"{2}>{3}',
            obj.pk,
            obj.display_name,
            format_html(' disabled title="It cannot be enabled: {}"', why)
            if why
            else (" checked" if is_enabled else ""),
            format_html('<input type="hidden" name="was_enabled" value="{}">', obj.pk)
            if is_enabled
            else "",
        )

    @admin.display(description="Port", ordering="port")
    def port_shown(self, obj: DiscoveredModel) -> str:
        server = _most_alive(obj)
        port = server.port if server and server.port else obj.port
        return str(port or "-")

    @admin.display(description="Status", ordering="server_rank")
    def status(self, obj: DiscoveredModel) -> str:
        server = _most_alive(obj)
        if server is None or (server.state == ServerState.STOPPED and not obj.is_launchable):
            return super().status(obj)
        count = len(getattr(obj, "known_servers", []))
        more = f" +{count - 1}" if count > 1 else ""
        return format_html(
            '<span id="status-{}">{}{}</span>', obj.pk, state_badge(server), more
        )

    def may_save_list(self, request: HttpRequest) -> bool:
        return super().may_save_list(request) or request.user.has_perm(ENABLE)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        profile = active_profile()
        enabled = profile.members.count() if profile else 0
        context = {"active_profile": profile, "enabled_count": enabled, **(extra_context or {})}
        return super().changelist_view(request, context)

    def save_list(self, request: HttpRequest) -> bool:
        has_told = super().save_list(request)
        if not request.user.has_perm(ENABLE):
            return has_told
        checked, were = (_keys(request, name) for name in ("enabled", "was_enabled"))
        if checked == were:
            return has_told
        profile = active_profile()
        shown = request.POST.get("active_profile", "")
        if profile is not None and shown and profile.slug != shown:
            text = f"Enabled nothing, disabled nothing: {profile} has been activated meanwhile."
            self.message_user(request, text, messages.WARNING)
            return True
        members = set(profile.members.values_list("model_id", flat=True)) if profile else set()
        for is_enabled, keys in ((False, were - checked), (True, checked - were)):
            rows = DiscoveredModel.objects.select_related("root").filter(pk__in=keys)
            # What somebody else has done meanwhile need not be done again.
            news = [row for row in rows if (row.model_id in members) != is_enabled]
            if news:
                self._set_enabled(request, news, is_enabled=is_enabled)
                has_told = True
        return has_told

    # -- actions on many

    def has_enable_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(ENABLE)

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(RUN)

    @admin.action(description="Enable in the active profile", permissions=["enable"])
    def enable_selected(
        self, request: HttpRequest, queryset: QuerySet[DiscoveredModel]
    ) -> None:
        if models := self.selected(request, queryset):
            self._set_enabled(request, models, is_enabled=True)

    @admin.action(description="Disable in the active profile", permissions=["enable"])
    def disable_selected(
        self, request: HttpRequest, queryset: QuerySet[DiscoveredModel]
    ) -> None:
        if models := self.selected(request, queryset):
            self._set_enabled(request, models, is_enabled=False)

    @admin.action(description="Start their servers", permissions=["run"])
    def start_selected(self, request: HttpRequest, queryset: QuerySet[DiscoveredModel]) -> None:
        for model in self.selected(request, queryset):
            self._start(request, model)

    @admin.action(description="Drain and stop their servers", permissions=["run"])
    def stop_selected(
        self, request: HttpRequest, queryset: QuerySet[DiscoveredModel]
    ) -> HttpResponse | None:
        """Ask whether it is meant, as the servers' own list does; then do it."""
        models = self.selected(request, queryset)
        servers = list(
            Server.objects.select_related("model__root").filter(
                model__in=models, wanted=Wanted.RUNNING
            )
        )
        if models and not servers:
            self.message_user(request, "Nothing to stop: none of them is to run.")
        if not servers or "confirmed" in request.POST:
            ask_each(request, servers, "stop")
            return None
        sent = [("action", "stop_selected")]
        sent += [(ACTION_CHECKBOX_NAME, str(model.pk)) for model in models]
        return confirm(request, servers, "stop", sent=sent, back=request.get_full_path())

    def _set_enabled(
        self, request: HttpRequest, models: list[DiscoveredModel], *, is_enabled: bool
    ) -> None:
        author = request.user.get_username()
        try:
            profile = services.set_enabled(models, is_enabled=is_enabled, author=author)
        except QueueUnavailableError as error:
            self.message_user(request, f"{error} {WHEN_BACK}", messages.WARNING)
        except (ModelsError, ProfilesError, ServersError) as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            word = "Enabled" if is_enabled else "Disabled"
            text = f"{word} in {profile}: {named(models)}."
            self.message_user(request, text, messages.SUCCESS)

    def _start(self, request: HttpRequest, model: DiscoveredModel, node: str = "") -> None:
        who = request.user.get_username()
        try:
            on = require_node(node) if node else ""
            services.request_start(model, node=on, who=who, why=WHY)
        except QueueUnavailableError as error:
            self.message_user(request, f"{error} {WHEN_BACK}", messages.WARNING)
        except (ServersError, ModelsError) as error:
            self.message_user(request, f"Not done: {error}", messages.ERROR)
        else:
            where = f" on {node}" if node else ""
            self.message_user(request, f"Starting {model}{where}.", messages.SUCCESS)

    # -- a model's page

    def get_urls(self) -> list[URLPattern]:
        start = path(
            "<int:pk>/start/",
            self.admin_site.admin_view(self.start_view),
            name="models_app_discoveredmodel_start",
        )
        copy = path(
            "<int:pk>/copy/",
            self.admin_site.admin_view(copy_view),
            name="models_app_discoveredmodel_copy",
        )
        return [start, copy, *super().get_urls()]

    def start_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_run_permission(request):
            raise PermissionDenied
        model = get_object_or_404(DiscoveredModel.objects.select_related("root"), pk=pk)
        self._start(request, model, request.POST.get("node", ""))
        page = reverse("admin:models_app_discoveredmodel_change", args=[pk])
        return HttpResponseRedirect(page)

    def page_context(self, model: DiscoveredModel) -> dict[str, Any]:
        servers = Server.objects.filter(model=model).select_related("model")
        nodes = choices_for(model)
        return {
            **super().page_context(model),
            **copy_context(model),
            "memory": memory_table(model),
            "memberships": memberships(model),
            "usage": usage(model),
            "start_nodes": nodes,
            "benchmarks": of_model(model),
            "servers": [
                {
                    "server": server,
                    "badge": state_badge(server),
                    "uptime": uptime(server),
                    "memory": memory(server),
                    "note": server.note or error_line(server),
                    "buttons": all_buttons(server, may_move=len(nodes) > 1),
                }
                for server in servers
            ],
        }


def _most_alive(model: DiscoveredModel) -> Server | None:
    """Return the server that says how a model is; None for one that never had any."""
    servers: list[Server] = getattr(model, "known_servers", [])
    return min(servers, key=lambda server: _RANKS[ServerState(server.state)], default=None)


def _keys(request: HttpRequest, name: str) -> set[int]:
    sent = request.POST.getlist(name)
    return {int(key) for key in sent if key.isdecimal() and len(key) <= MAX_DIGITS}
