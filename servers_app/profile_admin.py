"""The profiles' own pages, with what only servers_app can do: plan and ask for activations."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from models_app.errors import ModelsError
from profiles_app.admin import ProfileAdmin
from profiles_app.errors import ProfilesError
from profiles_app.models import Profile
from servers_app import services
from servers_app.engine.argv import Argument
from servers_app.errors import EngineError
from servers_app.plan_page import plan_page
from servers_app.planning import explained


class ActivatableProfileAdmin(ProfileAdmin):
    """Nothing that runs is stopped by an activation whose plan nobody has seen."""

    def get_urls(self) -> list[URLPattern]:
        ours: list[URLPattern] = [
            path(
                "<int:pk>/plan/",
                self.admin_site.admin_view(self.plan_view),
                name="profiles_app_profile_plan",
            ),
            path(
                "<int:pk>/activate/",
                self.admin_site.admin_view(self.activate_view),
                name="profiles_app_profile_activate",
            ),
        ]
        return [*ours, *super().get_urls()]

    def buttons_of(
        self, profile: Profile, *, may_change: bool, may_add: bool
    ) -> list[SafeString]:
        plan = reverse("admin:profiles_app_profile_plan", args=[profile.pk])
        shown = [format_html('<a class="magi-ask" href="{}">Plan</a>', plan)]
        if may_change and not profile.is_active:
            activate = reverse("admin:profiles_app_profile_activate", args=[profile.pk])
            button = '<button class="magi-ask is-main" formaction="{}">Activate</button>'
            shown.insert(0, format_html(button, activate))
        return [*shown, *super().buttons_of(profile, may_change=may_change, may_add=may_add)]

    def plan_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show what an activation would do now, and how far one is that was asked for."""
        profile = self.profile_or_404(request, pk)
        is_look = "X-Magi-Live" in request.headers  # what follows from settings stays
        commands, why_not = ({}, "") if is_look else _commands(profile)
        context = {
            **self.context_of(request, profile, "plan"),
            "title": f"Plan: {profile.name}",
            "page": plan_page(profile),
            "commands": commands,
            "why_no_commands": why_not,
        }
        return TemplateResponse(request, "admin/profiles_app/profile/plan.html", context)

    def activate_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Activate a profile; show the plan first to whom does not send what they have seen."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        profile = self.profile_or_404(request, pk)
        if not self.has_change_permission(request, profile):
            raise PermissionDenied
        plan = HttpResponseRedirect(reverse("admin:profiles_app_profile_plan", args=[pk]))
        seen = request.POST.get("seen")
        if seen is None and plan_page(profile).disturbs:
            text = f"{profile} was not activated yet: servers that run would stop. Look first."
            self.message_user(request, text, messages.WARNING)
            return plan
        if seen is not None and seen != str(profile.version):
            text = f"{profile} was changed meanwhile, and not activated. This is its plan now."
            self.message_user(request, text, messages.ERROR)
            return plan
        self._activate(request, profile, force=request.POST.get("force") == "1")
        return plan

    def _activate(self, request: HttpRequest, profile: Profile, *, force: bool) -> None:
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
            + (f"{len(activation.moved)} moving, " if activation.moved else "")
            + f"{len(activation.stopped)} stopping.",
        )
        for model_id, reason in activation.refused:
            self.message_user(request, f"Not started: {model_id}: {reason}", messages.WARNING)


def _commands(profile: Profile) -> tuple[dict[str, list[Argument]], str]:
    """Return each model's command line, with who says each part; or why there is none."""
    try:
        return explained(profile), ""
    except EngineError as error:
        return {}, str(error)
