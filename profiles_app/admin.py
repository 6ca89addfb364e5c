from typing import Any, TypeVar

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Field, JSONField, Model, QuerySet, TextField
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html

from models_app.audit_forms import delete_rows, save_form
from profiles_app import preset_admin  # noqa: F401 - registers the presets
from profiles_app.aliases import aliases_problems, clashes
from profiles_app.engines import engine_names, no_such_engine, unknown_settings
from profiles_app.errors import ProfilesError
from profiles_app.filepaths import misplaced_files
from profiles_app.files import FileState, file_state, yaml_of
from profiles_app.models import (
    BaseRunSettings,
    ModelRunSettings,
    Profile,
    ProfileMember,
    ProfileVersion,
    TierRule,
)
from profiles_app.reading import find_parent
from profiles_app.runsettings import check
from profiles_app.services import delete_profile, roll_back, save_rows, slug_of
from profiles_app.validation import validate

M = TypeVar("M", bound=Model)
SMALL_TEXTS: dict[type[Field[Any, Any]], dict[str, Any]] = {
    JSONField: {"widget": forms.Textarea(attrs={"rows": 2, "cols": 32})},
    TextField: {"widget": forms.Textarea(attrs={"rows": 2, "cols": 80})},
}


class RunSettingsForm(forms.ModelForm[M]):
    """A form whose run settings are checked before they are saved, each by its name."""

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        values = cleaned.get("run_settings") or {}
        unknown = unknown_settings(self.engine(), values)
        for place, sentence in (*unknown, *misplaced_files(values)):
            self.add_error("run_settings", f"{place}: {sentence}")
        return cleaned

    def engine(self) -> str:
        """Return which llama-server gets the settings: that of the active profile."""
        active = Profile.objects.filter(is_active=True).values_list("engine", flat=True)
        return active.first() or ""

    def clean_run_settings(self) -> dict[str, Any]:
        cleaned, problems = check(
            self.cleaned_data["run_settings"] or {},
            allowed_args=settings.MAGI_ALLOWED_EXTRA_ARGS,
        )
        if problems:
            raise ValidationError(
                [f"{path}: {text}" if path else text for path, text in problems]
            )
        return cleaned


class ProfileForm(RunSettingsForm[Profile]):
    """Remembers which version of the profile it shows, so that two people do not collide."""

    seen = forms.IntegerField(widget=forms.HiddenInput, required=False)

    class Meta:
        model = Profile
        exclude = ("version",)  # noqa: DJ006 - the admin's fieldsets say which are shown

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.initial["seen"] = self.instance.version
        names = sorted({*engine_names(), self.instance.engine} - {""})
        choices = [("", "The default"), *((name, name) for name in names)]
        self.fields["engine"].widget = forms.Select(choices=choices)

    def engine(self) -> str:
        name: str = self.cleaned_data.get("engine", "")
        return name

    def clean_engine(self) -> str:
        name = self.engine()
        if why_not := no_such_engine(name):
            raise ValidationError(why_not)
        return name

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        slug = cleaned.get("slug") or self.instance.slug or slug_of(cleaned.get("name", ""))
        parent = cleaned.get("extends")
        _, why_not = find_parent(parent.slug if parent else None, slug)
        if why_not:
            self.add_error("extends", why_not)
        if self.instance.pk:
            self._refuse_a_lost_change(cleaned.get("seen"))
        return cleaned

    def _refuse_a_lost_change(self, seen: int | None) -> None:
        # Locked until the admin's transaction ends: nobody saves between this and our save.
        now = Profile.objects.select_for_update().get(pk=self.instance.pk).version
        if seen == now:
            return
        last = ProfileVersion.objects.filter(slug=self.instance.slug, number=now).first()
        who = last.author if last and last.author else "somebody"
        what = last.summary if last else "changed"
        msg = (
            f"{who} saved this profile while you were editing it ({what}). Nothing of yours "
            "was saved. Open it in another tab, and put your changes into the new version."
        )
        raise ValidationError(msg)


class MemberForm(RunSettingsForm[ProfileMember]):
    def engine(self) -> str:
        profile = self.cleaned_data.get("profile")  # as it is edited
        return profile.engine if isinstance(profile, Profile) else ""

    def clean_aliases(self) -> list[str]:
        aliases: list[str] = self.cleaned_data["aliases"] or []
        if problems := list(aliases_problems(aliases)):
            raise ValidationError(problems)
        return aliases


class MemberFormSet(forms.BaseInlineFormSet[ProfileMember, Profile, MemberForm]):
    """The models of a profile together: no name stands for two of them."""

    def clean(self) -> None:
        super().clean()
        by_id = {
            form.cleaned_data["model_id"]: form
            for form in self.forms
            if {"model_id", "aliases"} <= form.cleaned_data.keys()
            and form not in self.deleted_forms
        }
        aliases = {model_id: form.cleaned_data["aliases"] for model_id, form in by_id.items()}
        for model_id, sentence in clashes(aliases):
            by_id[model_id].add_error("aliases", sentence)


class MemberInline(admin.TabularInline[ProfileMember, Profile]):
    model = ProfileMember
    form = MemberForm
    # The stubs want a set of any forms, and this one is of ours.
    formset = MemberFormSet  # type: ignore[assignment]
    extra = 1
    verbose_name = "enabled model"
    formfield_overrides = SMALL_TEXTS
    fields = ("position", "model_id", "tier_override", "replicas", "aliases", "run_settings")


class TierInline(admin.TabularInline[TierRule, Profile]):
    model = TierRule
    extra = 0
    verbose_name = "tier"
    fields = ("position", "name", "max_score", "expected_time_seconds", "description")


@admin.register(Profile)
class ProfileAdmin(admin.ModelAdmin[Profile]):
    form = ProfileForm
    list_display = ("name", "slug", "is_active", "version", "file", "description")
    list_select_related = ("extends",)
    search_fields = ("name", "slug", "description")
    prepopulated_fields = {"slug": ("name",)}
    readonly_fields = ("file", "yaml_text", "versions")
    fieldsets = (
        (None, {"fields": ("name", "slug", "description", "extends", "preset", "seen")}),
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
                    "routing_cold_wait_seconds",
                    ("routing_classifier", "routing_classifier_model"),
                )
            },
        ),
        (
            "Servers",
            {
                "fields": (
                    ("start", "restart_policy"),
                    ("idle_ttl_seconds", "drain_seconds"),
                    ("queue_limit", "queue_wait_seconds"),
                    ("memory_budget_mib", "eviction"),
                    "engine",
                    "run_settings",
                )
            },
        ),
        ("File and versions", {"fields": ("file", "yaml_text", "versions")}),
    )
    inlines = (MemberInline, TierInline)
    formfield_overrides = SMALL_TEXTS

    @admin.display(description="File")
    def file(self, obj: Profile) -> str:
        if not obj.pk:
            return "-"
        state = file_state(obj, settings.MAGI_PROFILES_DIR)
        colour = "failed" if state == FileState.CONFLICT else "tag"
        return format_html(
            '<span class="magi-badge magi-{}" title="{}">{}</span>',
            colour,
            state.label,
            state.value,
        )

    @admin.display(description="YAML")
    def yaml_text(self, obj: Profile) -> str:
        return format_html("<pre>{}</pre>", yaml_of(obj)) if obj.pk else "-"

    @admin.display(description="Versions")
    def versions(self, obj: Profile) -> str:
        page = reverse("admin:profiles_app_profileversion_changelist")
        return format_html('<a href="{}?slug={}">{}</a>', page, obj.slug, obj.version)

    def get_readonly_fields(
        self, request: HttpRequest, obj: Profile | None = None
    ) -> list[str]:
        # The name in the API and of the file: other systems know it by it.
        return [*self.readonly_fields, *(["slug"] if obj else [])]

    def get_prepopulated_fields(
        self, request: HttpRequest, obj: Profile | None = None
    ) -> dict[str, Any]:
        return {} if obj else dict(self.prepopulated_fields)

    def save_related(
        self,
        request: HttpRequest,
        form: Any,
        formsets: Any,
        change: bool,  # noqa: FBT001
    ) -> None:
        super().save_related(request, form, formsets, change)
        profile = Profile.objects.select_related("extends").get(pk=form.instance.pk)
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


@admin.register(ProfileVersion)
class ProfileVersionAdmin(admin.ModelAdmin[ProfileVersion]):
    """What each profile was, and who changed it."""

    list_display = ("slug", "number", "created_at", "author", "summary")
    list_filter = ("slug",)
    search_fields = ("slug", "author", "summary")
    fields = ("slug", "number", "created_at", "author", "summary", "yaml_text")
    readonly_fields = fields
    actions = ("roll_back_to",)

    @admin.display(description="YAML")
    def yaml_text(self, obj: ProfileVersion) -> str:
        return format_html("<pre>{}</pre>", obj.yaml)

    @admin.action(description="Roll back to the selected version", permissions=["view"])
    def roll_back_to(self, request: HttpRequest, queryset: QuerySet[ProfileVersion]) -> None:
        if not request.user.has_perm("profiles_app.change_profile"):
            self.message_user(request, "You may not change profiles.", messages.ERROR)
            return
        if len(queryset) != 1:
            self.message_user(request, "Select one version to roll back to.", messages.ERROR)
            return
        version = queryset[0]
        try:
            roll_back(version.slug, version.number, author=request.user.get_username())
        except ProfilesError as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            self.message_user(request, f"Rolled back to {version}.")

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


@admin.register(BaseRunSettings)
class BaseRunSettingsAdmin(admin.ModelAdmin[BaseRunSettings]):
    """One row: its list is its form."""

    form = RunSettingsForm[BaseRunSettings]
    fields = ("run_settings",)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        base, _ = BaseRunSettings.objects.get_or_create(pk=1)
        page = reverse("admin:profiles_app_baserunsettings_change", args=[base.pk])
        return HttpResponseRedirect(page)

    def save_model(
        self,
        request: HttpRequest,
        obj: BaseRunSettings,
        form: forms.ModelForm[Any],
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        save_form(obj, form, is_new=not change)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: BaseRunSettings | None = None
    ) -> bool:
        return False


@admin.register(ModelRunSettings)
class ModelRunSettingsAdmin(admin.ModelAdmin[ModelRunSettings]):
    form = RunSettingsForm[ModelRunSettings]
    list_display = ("model_id", "run_settings")
    search_fields = ("model_id",)

    def save_model(
        self,
        request: HttpRequest,
        obj: ModelRunSettings,
        form: forms.ModelForm[Any],
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        save_form(obj, form, is_new=not change)

    def delete_model(self, request: HttpRequest, obj: ModelRunSettings) -> None:
        delete_rows(ModelRunSettings.objects.filter(pk=obj.pk))

    def delete_queryset(
        self, request: HttpRequest, queryset: QuerySet[ModelRunSettings]
    ) -> None:
        delete_rows(queryset)
