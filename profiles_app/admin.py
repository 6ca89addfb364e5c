"""Profiles in the admin: their list, and the page on which one is edited."""

from collections import defaultdict
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Count, OuterRef, QuerySet, Subquery, Sum, Value
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from profiles_app import preset_admin, settings_admin, version_admin  # noqa: F401 - to register
from profiles_app.admin_forms import (
    MemberForm,
    MemberFormSet,
    OrderedFormSet,
    ProfileForm,
    TierForm,
)
from profiles_app.engines import steps
from profiles_app.errors import ProfilesError
from profiles_app.files import FileState, file_state
from profiles_app.model_search import models_by_id, place_of
from profiles_app.models import Profile, ProfileMember, ProfileVersion, TierRule
from profiles_app.nodes import known_nodes
from profiles_app.profile_pages import ProfilePages
from profiles_app.rows import field_of
from profiles_app.serializers import DEFAULT_TIERS
from profiles_app.services import delete_profile, save_rows
from profiles_app.settings_help import settings_help
from profiles_app.validation import validate

_FILES = {
    FileState.SAME: ("same", "ok"),
    FileState.FILE_CHANGED: ("file is newer", "warning"),
    FileState.ROW_CHANGED: ("edited here", "tag"),
    FileState.CONFLICT: ("both edited", "failed"),
    FileState.NO_FILE: ("no file", "tag"),
    FileState.FILE_GONE: ("file gone", "warning"),
}
_OF_MEMBERS, _OF_TIERS = "enabled_models", "tier_config"


class MemberInline(admin.TabularInline[ProfileMember, Profile]):
    model = ProfileMember
    form = MemberForm
    formset = MemberFormSet
    extra = 2
    template = "admin/profiles_app/profile/members.html"
    verbose_name = "model"
    fields = ("position", "model_id", "tier_override", "replicas", "aliases", "run_settings")

    def get_fields(self, request: HttpRequest, obj: Profile | None = None) -> Any:
        """Ask for nodes where there is a choice, or where somebody has made one."""
        fields = super().get_fields(request, obj)
        has_named = obj is not None and obj.members.exclude(nodes=[]).exists()
        if not has_named and len(known_nodes()) == 1:
            return fields
        place = fields.index("aliases")
        return (*fields[:place], "nodes", *fields[place:])


class TierInline(admin.TabularInline[TierRule, Profile]):
    model = TierRule
    form = TierForm
    formset = OrderedFormSet
    extra = 0
    max_num = 3  # as many as there are tiers
    template = "admin/profiles_app/profile/tiers.html"
    verbose_name = "tier"
    fields = ("position", "name", "max_score", "expected_time_seconds", "description")

    def get_extra(self, request: HttpRequest, obj: Profile | None = None, **_: Any) -> int:
        return self.max_num if obj is None else 1


@admin.register(Profile)
class ProfileAdmin(ProfilePages):
    form = ProfileForm
    list_display = ("title", "models", "servers", "version", "changed", "file", "buttons")
    list_select_related = ("extends",)
    search_fields = ("name", "slug", "description")
    list_per_page = 50
    show_full_result_count = False
    readonly_fields = ("file",)
    save_on_top = False
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("name", "slug", "extends", "preset", "engine", "file"),
                    "description",
                    "seen",
                )
            },
        ),
        (
            "Servers",
            {
                "fields": (
                    ("start", "restart_policy", "idle_ttl_seconds", "drain_seconds"),
                    ("queue_limit", "queue_wait_seconds", "memory_budget_mib", "eviction"),
                    "run_settings",
                )
            },
        ),
        (
            "Placement",
            {
                "fields": (
                    ("placement_rule", "placement_nodes"),
                    ("placement_failover", "placement_failover_after_seconds"),
                )
            },
        ),
        (
            "Two-stage processing",
            {
                "fields": (
                    "two_stage_enabled",
                    ("two_stage_stage1_tier", "two_stage_stage1_max_tokens"),
                    "two_stage_stage2_tier",
                )
            },
        ),
        (
            "Load balancing",
            {
                "fields": (
                    "load_balancing_enabled",
                    ("load_balancing_strategy", "health_check_interval"),
                )
            },
        ),
        (
            "Routing",
            {
                "fields": (
                    ("routing_cold_wait_seconds", "routing_classifier"),
                    "routing_classifier_model",
                )
            },
        ),
    )
    inlines = (MemberInline, TierInline)
    change_form_template = "admin/profiles_app/profile/change_form.html"
    change_list_template = "admin/profiles_app/profile/change_list.html"

    # -- the list

    def get_queryset(self, request: HttpRequest) -> QuerySet[Profile]:
        last = ProfileVersion.objects.filter(slug=OuterRef("slug"), number=OuterRef("version"))
        return (
            super()
            .get_queryset(request)
            .annotate(
                models_count=Count("members"),
                servers_count=Sum("members__replicas"),
                changed_by=Subquery(last.values("author")[:1]),
                # For the buttons of a row, which are not told who asks.
                may_change=Value(self.has_change_permission(request)),
                may_add=Value(self.has_add_permission(request)),
            )
        )

    @admin.display(description="Profile", ordering="name")
    def title(self, obj: Profile) -> SafeString:
        badge = '<span class="magi-badge magi-ready">{}</span>'
        return format_html(
            '<strong>{}</strong> <span class="magi-mono magi-quiet">{}</span> {}<br>'
            '<span class="magi-quiet">{}</span>',
            obj.name,
            obj.slug,
            format_html(badge, "active") if obj.is_active else "",
            obj.description,
        )

    @admin.display(description="Models", ordering="models_count")
    def models(self, obj: Any) -> int:
        return int(obj.models_count)

    @admin.display(description="Servers", ordering="servers_count")
    def servers(self, obj: Any) -> int:
        return obj.servers_count or 0

    @admin.display(description="Changed", ordering="updated_at")
    def changed(self, obj: Any) -> str:
        at = timezone.localtime(obj.updated_at)
        return f"{at:%Y-%m-%d %H:%M}" + (f" by {obj.changed_by}" if obj.changed_by else "")

    @admin.display(description="File")
    def file(self, obj: Profile) -> str | SafeString:
        if not obj.pk:
            return "-"
        state = file_state(obj, settings.MAGI_PROFILES_DIR)
        word, looks = _FILES[state]
        badge = '<span class="magi-badge magi-{}" title="{}">{}</span>'
        return format_html(badge, looks, state.label, word)

    @admin.display(description="")
    def buttons(self, obj: Any) -> SafeString:
        shown = self.buttons_of(obj, may_change=obj.may_change, may_add=obj.may_add)
        row = format_html_join(" ", "{}", ((button,) for button in shown))
        return format_html('<span class="magi-row-asks">{}</span>', row)

    def buttons_of(
        self, profile: Profile, *, may_change: bool, may_add: bool
    ) -> list[SafeString]:
        """Return what one can do with a profile from its list."""
        link_to = {"export": '<a class="magi-ask" href="{}" download>{}</a>'}
        names = {"yaml": "YAML", **({"copy": "Copy"} if may_add else {}), "export": "Export"}
        return [
            format_html(
                link_to.get(name, '<a class="magi-ask" href="{}">{}</a>'),
                reverse(f"admin:profiles_app_profile_{name}", args=[profile.pk]),
                label,
            )
            for name, label in names.items()
        ]

    # -- the page of one

    def get_readonly_fields(
        self, request: HttpRequest, obj: Profile | None = None
    ) -> list[str]:
        # The name in the API and of the file: other systems know it by it.
        return [*self.readonly_fields, *(["slug"] if obj else [])]

    def get_fieldsets(self, request: HttpRequest, obj: Profile | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return fieldsets
        (name, first), *rest = fieldsets
        shown = [field for field in first["fields"] if field != "seen"]
        return [(name, {**first, "fields": shown}), *rest]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        profile: Profile | None = context.get("original")
        if profile is not None:
            context |= self.context_of(request, profile, "edit")
        context["settings_help"] = settings_help()
        members, tiers = (each.formset.forms for each in context["inline_admin_formsets"][:2])
        ids = [str(form["model_id"].value() or "") for form in members]
        known = models_by_id({model_id for model_id in ids if model_id})
        for form, model_id in zip(members, ids, strict=True):
            form.known = known.get(model_id)
            form.place = place_of(form.known) if form.known else ""
        if profile is not None and not context["errors"]:
            _lay_findings(context, profile, members, tiers)
        return super().render_change_form(request, context, *args, **options)

    def save_related(
        self,
        request: HttpRequest,
        form: Any,
        formsets: Any,
        change: bool,  # noqa: FBT001
    ) -> None:
        super().save_related(request, form, formsets, change)
        profile = Profile.objects.select_related("extends").get(pk=form.instance.pk)
        if not change and not profile.tiers.exists():
            TierRule.objects.bulk_create(
                TierRule(profile=profile, position=place, **tier)
                for place, tier in enumerate(DEFAULT_TIERS)
            )
        save_rows(profile, author=request.user.get_username())
        for finding in validate(profile).findings:
            level = messages.ERROR if finding.is_error else messages.WARNING
            self.message_user(request, f"{profile}: {finding}", level)

    def changeform_view(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        try:
            return super().changeform_view(request, *args, **options)
        except ProfilesError as error:  # nothing was saved
            self.message_user(request, f"Not saved: {error}", messages.ERROR)
            return HttpResponseRedirect(request.path)

    def delete_model(self, request: HttpRequest, obj: Profile) -> None:
        delete_profile(obj, author=request.user.get_username())

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Profile]) -> None:
        for profile in queryset:
            try:
                self.delete_model(request, profile)
            except ProfilesError as error:
                self.message_user(request, str(error), messages.ERROR)

    def has_delete_permission(self, request: HttpRequest, obj: Profile | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not (obj and obj.is_active)


def _lay_findings(
    context: dict[str, Any], profile: Profile, members: list[Any], tiers: list[Any]
) -> None:
    """Put what validation finds to the fields that it is about; the rest is said above."""
    lists = {_OF_MEMBERS: members, _OF_TIERS: tiers}
    at_fields: defaultdict[str, list[Any]] = defaultdict(list)
    elsewhere = []
    findings = validate(profile).findings
    for finding in findings:
        path = steps(finding.path)
        if len(path) > 1 and path[0] in lists and isinstance(path[1], int):
            form = lists[str(path[0])][path[1]]
            form.findings = [*getattr(form, "findings", ()), finding]
        elif name := field_of(path):
            at_fields[name].append(finding)
        else:
            elsewhere.append(finding)
    form = context["adminform"].form
    form.findings_by_field = dict(at_fields)
    context |= {
        "findings": findings,
        "findings_elsewhere": elsewhere,
        "has_errors": any(finding.is_error for finding in findings),
    }
