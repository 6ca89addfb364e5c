"""Versions of profiles in the admin: what each changed, and the way back to one."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet, Value
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from profiles_app.differences import diff_lines
from profiles_app.errors import ProfilesError
from profiles_app.files import yaml_of
from profiles_app.models import Profile, ProfileVersion
from profiles_app.services import roll_back

SHOWN_CHANGES = 4


@admin.register(ProfileVersion)
class ProfileVersionAdmin(admin.ModelAdmin[ProfileVersion]):
    """What each profile was, and who changed it."""

    list_display = ("version", "changed_at", "author", "changes", "buttons")
    list_filter = ("slug",)
    list_per_page = 50
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    search_fields = ("slug", "author", "summary")
    ordering = ("-created_at", "-id")
    fields = ("slug", "number", "created_at", "author", "summary")
    readonly_fields = fields
    actions = None
    change_form_template = "admin/profiles_app/profileversion/change_form.html"

    def get_urls(self) -> list[URLPattern]:
        ours = path(
            "<int:pk>/rollback/",
            self.admin_site.admin_view(self.rollback_view),
            name="profiles_app_profileversion_rollback",
        )
        return [ours, *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ProfileVersion]:
        now = Profile.objects.filter(slug=OuterRef("slug"), version=OuterRef("number"))
        may = request.user.has_perm("profiles_app.change_profile")
        return super().get_queryset(request).annotate(is_now=Exists(now), may=Value(may))

    @admin.display(description="Version", ordering="slug")
    def version(self, obj: Any) -> SafeString:
        badge = ' <span class="magi-badge magi-tag">{}</span>'
        now = format_html(badge, "now") if obj.is_now else ""
        return format_html("{} <b>{}</b>{}", obj.slug, obj.number, now)

    @admin.display(description="When", ordering="created_at")
    def changed_at(self, obj: ProfileVersion) -> str:
        return f"{timezone.localtime(obj.created_at):%Y-%m-%d %H:%M:%S}"

    @admin.display(description="What was changed")
    def changes(self, obj: ProfileVersion) -> SafeString:
        changes = obj.summary.split("; ")
        lines = ((each,) for each in changes[:SHOWN_CHANGES])
        shown = format_html_join("", "<li>{}</li>", lines)
        more = len(changes) - SHOWN_CHANGES
        rest = format_html("<li>and {} more</li>", more) if more > 0 else ""
        return format_html('<ul class="magi-changes-listed">{}{}</ul>', shown, rest)

    @admin.display(description="", empty_value="")
    def buttons(self, obj: Any) -> str | SafeString:
        if obj.is_now or not obj.may:
            return ""
        url = reverse("admin:profiles_app_profileversion_rollback", args=[obj.pk])
        return format_html('<a class="magi-ask" href="{}">Roll back</a>', url)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        version: Any = context["original"]
        before = (
            ProfileVersion.objects.filter(slug=version.slug, number__lt=version.number)
            .order_by("-number")
            .first()
        )
        context |= {
            "version": version,
            "before": before,
            "changes": version.summary.split("; "),
            "lines": diff_lines(before.yaml if before else "", version.yaml),
        }
        return super().render_change_form(request, context, *args, **options)

    def rollback_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show what a rollback would change, and ask; do it when it is sent."""
        if not request.user.has_perm("profiles_app.change_profile"):
            raise PermissionDenied
        version = ProfileVersion.objects.filter(pk=pk).first()
        if version is None:
            msg = "There is no such version."
            raise Http404(msg)
        if request.method == "POST":
            return self._roll_back(request, version)
        profile = Profile.objects.filter(slug=version.slug).first()
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Roll {version.slug} back to version {version.number}?",
            "version": version,
            "profile": profile,
            "lines": diff_lines(yaml_of(profile) if profile else "", version.yaml),
        }
        template = "admin/profiles_app/profileversion/rollback.html"
        return TemplateResponse(request, template, context)

    def _roll_back(self, request: HttpRequest, version: ProfileVersion) -> HttpResponse:
        try:
            who = request.user.get_username()
            profile = roll_back(version.slug, version.number, author=who)
        except ProfilesError as error:
            self.message_user(request, f"Not rolled back: {error}", messages.ERROR)
            page = reverse("admin:profiles_app_profileversion_change", args=[version.pk])
        else:
            text = f"Rolled back to {version}. Servers follow with the next activation."
            self.message_user(request, text, messages.SUCCESS)
            page = reverse("admin:profiles_app_profile_change", args=[profile.pk])
        return HttpResponseRedirect(page)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: ProfileVersion | None = None
    ) -> bool:
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: ProfileVersion | None = None
    ) -> bool:
        return False
