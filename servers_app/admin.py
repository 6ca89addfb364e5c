from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from models_app.errors import ModelsError
from profiles_app.admin import ProfileAdmin
from profiles_app.models import Profile
from servers_app import launcher, services
from servers_app.errors import ServersError
from servers_app.models import Server

LOG_LINES = 100


@admin.register(Server)
class ServerAdmin(admin.ModelAdmin[Server]):
    """What runs. A row is made when a model is first started, and only shows."""

    list_display = ("model", "state_badge", "wanted", "port", "pid", "node", "ready_at")
    list_filter = ("state", "node")
    list_select_related = ("model",)
    search_fields = ("model__model_id", "model__display_name")
    actions = ("start_selected", "stop_selected")
    exclude = ("last_error",)

    @admin.display(description="State", ordering="state")
    def state_badge(self, obj: Server) -> str:
        return format_html(
            '<span class="magi-badge magi-{}">{}</span>', obj.state, obj.get_state_display()
        )

    @admin.display(description="Last error")
    def error_text(self, obj: Server) -> str:
        return format_html('<pre class="magi-log">{}</pre>', obj.last_error or "none")

    @admin.display(description="Log")
    def log_tail(self, obj: Server) -> str:
        tail = launcher.log_tail(obj.pk, lines=LOG_LINES)
        return format_html('<pre class="magi-log">{}</pre>', tail or "empty")

    @admin.action(description="Start selected servers", permissions=["change"])
    def start_selected(self, request: HttpRequest, queryset: QuerySet[Server]) -> None:
        for server in queryset.select_related("model__root"):
            try:
                services.request_start(server.model)
            except (ServersError, ModelsError) as error:
                self.message_user(request, str(error), messages.ERROR)
            else:
                self.message_user(request, f"Starting {server.model}.")

    @admin.action(description="Stop selected servers", permissions=["change"])
    def stop_selected(self, request: HttpRequest, queryset: QuerySet[Server]) -> None:
        for server in queryset.select_related("model"):
            try:
                services.request_stop(server)
            except ModelsError as error:
                self.message_user(request, str(error), messages.ERROR)
            else:
                self.message_user(request, f"Stopping {server.model}.")

    def get_readonly_fields(self, request: HttpRequest, obj: Server | None = None) -> list[str]:
        shown = [field.name for field in Server._meta.fields if field.name != "last_error"]
        return [*shown, "error_text", "log_tail"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Server | None = None) -> bool:
        return False


class ActivatableProfileAdmin(ProfileAdmin):
    """The profiles' own page, with what only servers_app can do: an activation."""

    actions = ("activate_selected",)

    @admin.action(description="Activate the selected profile", permissions=["change"])
    def activate_selected(self, request: HttpRequest, queryset: QuerySet[Profile]) -> None:
        if len(queryset) != 1:
            self.message_user(request, "Select one profile to activate.", messages.ERROR)
            return
        profile = queryset[0]
        try:
            activation = services.activate_profile(profile)
        except ModelsError as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        self.message_user(
            request,
            f"Activated {profile}: starting {len(activation.started)} servers, "
            f"stopping {len(activation.stopped)}.",
        )
        for model_id in activation.missing:
            self.message_user(request, f"Model not found: {model_id}", messages.WARNING)
        for model_id, reason in activation.refused:
            self.message_user(request, f"Not started: {model_id}: {reason}", messages.WARNING)


admin.site.unregister(Profile)
admin.site.register(Profile, ActivatableProfileAdmin)
