from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join

from models_app.admin import DiscoveredModelAdmin
from models_app.errors import ModelsError
from models_app.models import DiscoveredModel
from profiles_app.admin import ProfileAdmin
from profiles_app.errors import ProfilesError
from profiles_app.models import Profile
from profiles_app.validation import validate
from servers_app import apikey_admin, node_admin, request_admin, server_admin, services  # noqa: F401 - to register
from servers_app.errors import EngineError, ServersError
from servers_app.planning import explained, make_plan

COMMAND_LINES = """
<table><thead><tr>
<th scope="col">Model</th><th scope="col">Argument</th>
<th scope="col">From</th><th scope="col">Note</th>
</tr></thead><tbody>{}</tbody></table>
"""


class ActivatableProfileAdmin(ProfileAdmin):
    """The profiles' own page, with what only servers_app can do: an activation."""

    actions = ("plan_selected", "activate_selected", "activate_with_errors")

    def get_readonly_fields(
        self, request: HttpRequest, obj: Profile | None = None
    ) -> list[str]:
        return [*super().get_readonly_fields(request, obj), "command_lines"]

    def get_fieldsets(self, request: HttpRequest, obj: Profile | None = None) -> Any:
        shown = ("Command lines", {"classes": ("collapse",), "fields": ("command_lines",)})
        return [*super().get_fieldsets(request, obj), *([shown] if obj else [])]

    @admin.display(description="As they would be launched")
    def command_lines(self, obj: Profile) -> str:
        """Each model's, and where each value comes from."""
        if not obj.pk:
            return "-"
        try:
            commands = explained(obj)
        except EngineError as error:
            return str(error)
        rows = format_html_join(
            "",
            "<tr><td>{}</td><td>{} {}</td><td>{}</td><td>{}</td></tr>",
            (
                (model_id, each.flag, each.value or "", each.origin, each.note)
                for model_id, arguments in commands.items()
                for each in arguments
            ),
        )
        return format_html(COMMAND_LINES, rows)

    @admin.action(description="Plan: what an activation would do", permissions=["view"])
    def plan_selected(self, request: HttpRequest, queryset: QuerySet[Profile]) -> None:
        for profile in queryset.select_related("extends"):
            plan = make_plan(profile)
            for wish in plan.wishes:
                why = f": {wish.why}" if wish.why else ""
                text = f"{profile}: {wish.model.model_id} {wish.step.label}{why}"
                self.message_user(request, text)
            for finding in validate(profile).findings:
                level = messages.ERROR if finding.is_error else messages.WARNING
                self.message_user(request, f"{profile}: {finding}", level)
            self.message_user(
                request,
                f"{profile}: about {plan.memory_before_mib:,} MiB now, "
                f"{plan.memory_after_mib:,} MiB afterwards. Nothing was changed.",
            )

    @admin.action(description="Activate the selected profile", permissions=["change"])
    def activate_selected(self, request: HttpRequest, queryset: QuerySet[Profile]) -> None:
        self._activate(request, queryset, force=False)

    @admin.action(
        description="Activate the selected profile with its errors", permissions=["change"]
    )
    def activate_with_errors(self, request: HttpRequest, queryset: QuerySet[Profile]) -> None:
        self._activate(request, queryset, force=True)

    def _activate(
        self, request: HttpRequest, queryset: QuerySet[Profile], *, force: bool
    ) -> None:
        if len(queryset) != 1:
            self.message_user(request, "Select one profile to activate.", messages.ERROR)
            return
        profile = queryset[0]
        try:
            who = request.user.get_username()
            activation = services.activate_profile(profile, force=force, who=who)
        except (ModelsError, ProfilesError) as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        self.message_user(
            request,
            f"Activated {profile}: {len(activation.started)} servers wanted, "
            f"{len(activation.restarted)} of them restarting, "
            f"{len(activation.stopped)} stopping.",
        )
        for finding in activation.errors:
            self.message_user(request, f"{profile}: {finding}", messages.WARNING)
        for model_id, reason in activation.refused:
            self.message_user(request, f"Not started: {model_id}: {reason}", messages.WARNING)


class EnablableModelAdmin(DiscoveredModelAdmin):
    """The models' own page, with what the active profile makes of them."""

    actions = ("enable_selected", "disable_selected")

    @admin.action(description="Enable in the active profile", permissions=["change"])
    def enable_selected(
        self, request: HttpRequest, queryset: QuerySet[DiscoveredModel]
    ) -> None:
        self._set_enabled(request, queryset, is_enabled=True)

    @admin.action(description="Disable in the active profile", permissions=["change"])
    def disable_selected(
        self, request: HttpRequest, queryset: QuerySet[DiscoveredModel]
    ) -> None:
        self._set_enabled(request, queryset, is_enabled=False)

    def _set_enabled(
        self, request: HttpRequest, queryset: QuerySet[DiscoveredModel], *, is_enabled: bool
    ) -> None:
        if not request.user.has_perm("profiles_app.change_profile"):
            self.message_user(request, "You may not change profiles.", messages.ERROR)
            return
        models, author = list(queryset.select_related("root")), request.user.get_username()
        try:
            profile = services.set_enabled(models, is_enabled=is_enabled, author=author)
        except (ModelsError, ProfilesError, ServersError) as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        word = "Enabled" if is_enabled else "Disabled"
        names = ", ".join(map(str, models))
        self.message_user(request, f"{word} in {profile}: {names}.")


admin.site.unregister(Profile)
admin.site.register(Profile, ActivatableProfileAdmin)
admin.site.unregister(DiscoveredModel)
admin.site.register(DiscoveredModel, EnablableModelAdmin)
