"""Run settings of all models and of one, in the admin."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from models_app.audit_forms import delete_rows, save_form
from profiles_app.admin_forms import BaseRunSettingsForm, ModelRunSettingsForm
from profiles_app.models import BaseRunSettings, ModelRunSettings
from profiles_app.settings_help import settings_help
from profiles_app.yamltext import write_yaml


def settings_shown(values: dict[str, Any]) -> str | SafeString:
    """Return run settings as their lines of a profile's YAML."""
    if not values:
        return "-"
    lines = format_html_join("\n", "{}", ((line,) for line in write_yaml(values).splitlines()))
    return format_html('<span class="magi-settings">{}</span>', lines)


class _WithHelp(admin.ModelAdmin[Any]):
    """A form below which all settings are listed that there are."""

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        context["settings_help"] = settings_help()
        return super().render_change_form(request, context, *args, **options)

    def save_model(
        self,
        request: HttpRequest,
        obj: Any,
        form: forms.ModelForm[Any],
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        save_form(obj, form, is_new=not change)


@admin.register(BaseRunSettings)
class BaseRunSettingsAdmin(_WithHelp):
    """One row: its list is its form."""

    form = BaseRunSettingsForm
    fieldsets = (
        (
            None,
            {
                "fields": ("run_settings",),
                "description": "What every llama-server is given, unless its model or the "
                "profile says else. One that runs keeps what it was started with.",
            },
        ),
    )

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        base, _ = BaseRunSettings.objects.get_or_create(pk=1)
        page = reverse("admin:profiles_app_baserunsettings_change", args=[base.pk])
        return HttpResponseRedirect(page)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: BaseRunSettings | None = None
    ) -> bool:
        return False


@admin.register(ModelRunSettings)
class ModelRunSettingsAdmin(_WithHelp):
    form = ModelRunSettingsForm
    list_display = ("model_id", "settings_shown")
    search_fields = ("model_id",)
    fieldsets = (
        (
            None,
            {
                "fields": ("model_id", "run_settings"),
                "description": "What llama-server is given for one model, in every profile; a "
                "profile may say else.",
            },
        ),
    )

    @admin.display(description="Run settings")
    def settings_shown(self, obj: ModelRunSettings) -> str | SafeString:
        return settings_shown(obj.run_settings)

    def delete_model(self, request: HttpRequest, obj: ModelRunSettings) -> None:
        delete_rows(ModelRunSettings.objects.filter(pk=obj.pk))

    def delete_queryset(
        self, request: HttpRequest, queryset: QuerySet[ModelRunSettings]
    ) -> None:
        delete_rows(queryset)
