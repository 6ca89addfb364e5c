"""Sampling presets and model presets in the admin."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from models_app.audit_forms import delete_rows, save_form
from profiles_app import modelpresets, presets
from profiles_app.errors import Problem
from profiles_app.preset_models import ModelPreset, SamplingPreset
from profiles_app.presetfile import (
    MODEL_FIELDS,
    SAMPLING_FIELDS,
    check_model,
    check_sampling,
    model_name_problem,
    twin_of,
)


class SamplingPresetForm(forms.ModelForm[SamplingPreset]):
    """Holds more against what is typed than the database does: see presetfile.py."""

    class Meta:
        model = SamplingPreset
        fields = ("name", *SAMPLING_FIELDS)
        widgets = {"stop": forms.Textarea(attrs={"rows": 1, "spellcheck": "false"})}
        help_texts = {"stop": 'Texts that end an answer, as JSON: ["\\n\\n", "END"].'}

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        _refuse_twin(name, [preset.name for preset in presets.list_presets()])
        return name

    def clean_stop(self) -> list[str]:
        stop: list[str] | None = self.cleaned_data["stop"]
        return [] if stop is None else stop  # what an empty field comes to

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        values = {name: self.cleaned_data.get(name) for name in SAMPLING_FIELDS}
        _add_problems(self, check_sampling(values)[1])
        return cleaned


class ModelPresetForm(forms.ModelForm[ModelPreset]):
    class Meta:
        model = ModelPreset
        fields = ("name", *MODEL_FIELDS)

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if problem := model_name_problem(name):
            raise forms.ValidationError(problem)
        _refuse_twin(name, [preset.name for preset in modelpresets.list_models()])
        return name

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        values = {name: self.cleaned_data.get(name) for name in MODEL_FIELDS}
        _add_problems(self, check_model(values)[1])
        return cleaned


def _refuse_twin(name: str, names: list[str]) -> None:
    if twin := twin_of(name, names):
        msg = f"This differs only in case from {twin}."
        raise forms.ValidationError(msg)


def _add_problems(form: forms.ModelForm[Any], problems: list[Problem]) -> None:
    for problem in problems:
        if problem.path not in form.errors:  # each field says one thing
            sentence = problem.message[:1].upper() + problem.message[1:]
            form.add_error(problem.path, f"{sentence}.")


@admin.register(SamplingPreset)
class SamplingPresetAdmin(admin.ModelAdmin[SamplingPreset]):
    form = SamplingPresetForm
    list_display = (
        "name",
        "use_case",
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "repeat_penalty",
        "seed",
        "stops",
        "thinking",
    )
    search_fields = ("name", "description", "use_case")
    fieldsets = (
        (None, {"fields": (("name", "description"), ("use_case", "thinking", "profiles"))}),
        (
            "Sampling",
            {
                "fields": (
                    ("max_tokens", "temperature", "top_p", "top_k"),
                    ("min_p", "repeat_penalty", "seed", "stop"),
                ),
                "description": "What is empty is left to llama-server.",
            },
        ),
    )

    @admin.display(description="Stop")
    def stops(self, obj: SamplingPreset) -> str:
        return ", ".join(repr(text) for text in obj.stop) or "-"

    @admin.display(description="Preset of profiles")
    def profiles(self, obj: SamplingPreset) -> str:
        return ", ".join(presets.used_by(obj)) or "-"

    def get_readonly_fields(
        self, request: HttpRequest, obj: SamplingPreset | None = None
    ) -> tuple[str, ...]:
        # Requests and profiles know it by its name: no other one takes that over.
        return ("name", "profiles") if obj else ("profiles",)

    def has_delete_permission(
        self, request: HttpRequest, obj: SamplingPreset | None = None
    ) -> bool:
        is_used = obj is not None and bool(presets.used_by(obj))
        return super().has_delete_permission(request, obj) and not is_used

    def save_model(
        self,
        request: HttpRequest,
        obj: SamplingPreset,
        form: forms.ModelForm[Any],
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        save_form(obj, form, is_new=not change)

    def delete_model(self, request: HttpRequest, obj: SamplingPreset) -> None:
        delete_rows(SamplingPreset.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[SamplingPreset]) -> None:
        delete_rows(queryset)


@admin.register(ModelPreset)
class ModelPresetAdmin(admin.ModelAdmin[ModelPreset]):
    form = ModelPresetForm
    list_display = (
        "name",
        "default_badge",
        "format",
        "size",
        "avg_tokens_per_sec",
        "quality",
        "context_length",
        "use_case",
    )
    list_filter = ("format", "quality")
    search_fields = ("name", "weights", "use_case")
    actions = ("validate_selected", "make_default")
    fieldsets = (
        (None, {"fields": (("name", "use_case", "quality"),)}),
        ("Files", {"fields": (("weights", "tokenizer"), ("format", "size_gb"))}),
        ("Figures", {"fields": (("context_length", "avg_tokens_per_sec", "min_ram_gb"),)}),
    )

    @admin.display(description="", ordering="is_default")
    def default_badge(self, obj: ModelPreset) -> str:
        if not obj.is_default:
            return ""
        return format_html('<span class="magi-badge magi-tag">{}</span>', "default")

    @admin.display(description="GB", ordering="size_gb")
    def size(self, obj: ModelPreset) -> str:
        return "-" if obj.size_gb is None else f"{obj.size_gb:g}"

    @admin.action(description="Validate selected model presets", permissions=["view"])
    def validate_selected(self, request: HttpRequest, queryset: QuerySet[ModelPreset]) -> None:
        for preset in queryset:
            found = modelpresets.validate_model(preset, is_confined=True)
            verdict = "; ".join(found) or "sound"
            level = messages.ERROR if found else messages.SUCCESS
            self.message_user(request, f"Validated {preset.name}: {verdict}.", level)

    @admin.action(
        description="Make the selected model preset the default", permissions=["change"]
    )
    def make_default(self, request: HttpRequest, queryset: QuerySet[ModelPreset]) -> None:
        names = [preset.name for preset in queryset]
        if len(names) != 1:
            self.message_user(request, "Select one model preset.", messages.ERROR)
            return
        modelpresets.set_default_model(names[0])
        self.message_user(request, f"Default model: {names[0]}.", messages.SUCCESS)

    def save_model(
        self,
        request: HttpRequest,
        obj: ModelPreset,
        form: forms.ModelForm[Any],
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        save_form(obj, form, is_new=not change)

    def delete_model(self, request: HttpRequest, obj: ModelPreset) -> None:
        delete_rows(ModelPreset.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ModelPreset]) -> None:
        delete_rows(queryset)
