"""The models that were found: a list in which overrides are edited, and a page for each."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Case, F, IntegerField, QuerySet, Value, When
from django.db.models.functions import Coalesce
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join

from models_app.audit_forms import delete_rows
from models_app.audit_models import Action
from models_app.copies import as_on, home_of, nodes_of
from models_app.downloads.figures import size_text
from models_app.errors import ModelsError, NotOnNodeError
from models_app.file_check_admin import hub_check_view, verify_view, versions_context
from models_app.model_filters import (
    FamilyFilter,
    FilesFilter,
    NodeFilter,
    OverrideFilter,
    QuantizationFilter,
    TierFilter,
)
from models_app.model_form import DecisionsForm
from models_app.model_page import page_of
from models_app.models import DiscoveredModel, Tier
from models_app.override_actions import OVERRIDE_ACTIONS, OverrideActions, named
from models_app.override_fields import THINKING, TIER, override_field, save_edits, star
from models_app.overview import overview
from models_app.pruning import TOLD
from models_app.rescan_admin import RESCAN, rescan_context, rescan_view
from models_app.rules import EFFECTIVE_TIER, OVERRIDES, save_overrides
from models_app.validation import validate

LIST_TEMPLATE = "admin/models_app/discoveredmodel/change_list.html"
PAGE_TEMPLATE = "admin/models_app/discoveredmodel/change_form.html"
HEAVY = ("metadata", "file_signature", "warnings")  # columns that no list shows

_TIER_RANK = Case(
    *(When(effective_tier=tier, then=Value(rank)) for rank, tier in enumerate(Tier.values)),
    default=Value(len(Tier.values)),
    output_field=IntegerField(),
)


def badges(model: DiscoveredModel) -> list[str]:
    """Return what a model is for, in capitals."""
    words = (
        ("CODER", model.is_coder),
        ("INSTRUCT", model.is_instruct),
        ("THINKING", model.is_thinking),
        ("TOOLS", model.supports_tools),
        (model.kind.upper(), model.kind != "text"),
    )
    return [word for word, holds in words if holds]


class DiscoveredModelAdmin(OverrideActions):
    """What was found. People change the overrides and the notes, and nothing else."""

    form = DecisionsForm
    change_list_template = LIST_TEMPLATE
    change_form_template = PAGE_TEMPLATE
    columns: tuple[str, ...] = (
        "title",
        "size",
        "quant",
        "tier_shown",
        "thinking_shown",
        "port_shown",
        "status",
    )
    editable_columns = {"tier_shown": "tier_field", "thinking_shown": "thinking_field"}
    list_display = columns
    list_display_links = ("title",)
    list_filter: ClassVar[tuple[Any, ...]] = (
        TierFilter,
        "kind",
        FilesFilter,
        NodeFilter,
        OverrideFilter,
        FamilyFilter,
        QuantizationFilter,
    )
    list_per_page = 50
    list_max_show_all = 0
    search_fields = ("model_id", "display_name", "filename", "repo_id")
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    editable_fields = ("tier_override", "thinking_override", "notes")
    actions: Sequence[Any] = OVERRIDE_ACTIONS

    # -- the list

    def get_queryset(self, request: HttpRequest) -> QuerySet[DiscoveredModel]:
        queryset = super().get_queryset(request).select_related("root")
        match = request.resolver_match
        if match is None or not (match.url_name or "").endswith("changelist"):
            return queryset
        return (
            queryset.defer(*HEAVY)
            .annotate(effective_tier=EFFECTIVE_TIER)
            .annotate(
                tier_rank=_TIER_RANK,
                thinks=Coalesce(F("thinking_override"), F("is_thinking_model")),
            )
        )

    def get_list_display(self, request: HttpRequest) -> Any:
        may_edit = self.has_change_permission(request)
        return [
            self.editable_columns.get(name, name) if may_edit else name for name in self.columns
        ]

    @admin.display(description="Model", ordering="display_name")
    def title(self, obj: DiscoveredModel) -> str:
        tags = format_html_join(
            "",
            ' <span class="magi-badge magi-tag">{}</span>',
            ((word,) for word in badges(obj)),
        )
        return format_html(
            '<span id="model-{}">{}</span>{} <small>{}</small>',
            obj.pk,
            obj.display_name,
            tags,
            obj.model_id,
        )

    @admin.display(description="Size", ordering="size_params")
    def size(self, obj: DiscoveredModel) -> str:
        params = "-" if obj.size_params is None else f"{obj.size_params:g}B"
        active = "" if obj.active_params is None else f" A{obj.active_params:g}B"
        on_disk = size_text(obj.size_bytes)
        return format_html("{}{} <small>{}</small>", params, active, on_disk)

    @admin.display(description="Quant", ordering="quantization")
    def quant(self, obj: DiscoveredModel) -> str:
        return obj.quantization or "-"

    @admin.display(description="Tier", ordering="tier_rank")
    def tier_shown(self, obj: DiscoveredModel) -> str:
        return format_html("{}{}", obj.tier or "-", star(TIER, obj) if obj.has_tier else "")

    @admin.display(description="Tier", ordering="tier_rank")
    def tier_field(self, obj: DiscoveredModel) -> str:
        return override_field(TIER, obj) if obj.has_tier else "-"

    @admin.display(description="Thinking", ordering="thinks")
    def thinking_shown(self, obj: DiscoveredModel) -> str:
        return format_html("{}{}", "on" if obj.is_thinking else "off", star(THINKING, obj))

    @admin.display(description="Thinking", ordering="thinks")
    def thinking_field(self, obj: DiscoveredModel) -> str:
        return override_field(THINKING, obj)

    @admin.display(description="Port", ordering="port")
    def port_shown(self, obj: DiscoveredModel) -> str:
        return str(obj.port or "-")

    @admin.display(description="Status", ordering="is_missing")
    def status(self, obj: DiscoveredModel) -> str:
        badge = '<span class="magi-badge magi-{}">{}</span>'
        if obj.is_missing:
            return format_html(badge, "missing", "missing")
        if obj.problem:
            return format_html(
                badge + " <small>{}</small>", "failed", "cannot run", obj.problem
            )
        return format_html(badge, "stopped", "found")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method == "POST" and "_save" in request.POST:
            if not self.save_list(request):
                self.message_user(request, "Nothing was changed.")
            return HttpResponseRedirect(request.get_full_path())
        context = {
            "title": "Models",
            "overview": overview(),
            "may_save": self.may_save_list(request),
            "may_rescan": request.user.has_perm(RESCAN),
            **rescan_context(request),
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    def may_save_list(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request)

    def save_list(self, request: HttpRequest) -> bool:
        """Save what was edited in the list; return whether there is something to tell of."""
        if not self.may_save_list(request):
            raise PermissionDenied
        if not self.has_change_permission(request):
            return False
        try:
            edited = save_edits(request.POST.dict())
        except ModelsError as error:
            self.message_user(request, str(error), messages.ERROR)
            return True
        if edited.models:
            names = named(edited.models)
            self.message_user(request, f"Saved the overrides of {names}.", messages.SUCCESS)
        for sentence in edited.left:
            self.message_user(request, sentence, messages.WARNING)
        return bool(edited.models or edited.left)

    # -- actions on many

    def get_actions(self, request: HttpRequest) -> Any:
        actions = super().get_actions(request)
        if delete_selected := actions.get("delete_selected"):
            delete, name, _ = delete_selected
            actions["delete_selected"] = (delete, name, "Forget them: rows, not files")
        return actions

    # -- a model's page

    def get_urls(self) -> list[URLPattern]:
        return [
            path(
                "rescan/",
                self.admin_site.admin_view(rescan_view),
                name="models_app_discoveredmodel_rescan",
            ),
            path(
                "<int:pk>/check/",
                self.admin_site.admin_view(self.check_view),
                name="models_app_discoveredmodel_check",
            ),
            path(
                "<int:pk>/verify/",
                self.admin_site.admin_view(verify_view),
                name="models_app_discoveredmodel_verify",
            ),
            path(
                "<int:pk>/hub-check/",
                self.admin_site.admin_view(hub_check_view),
                name="models_app_discoveredmodel_hub_check",
            ),
            *super().get_urls(),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        model = self.get_object(request, object_id)
        context = extra_context or {}
        if model is not None and self.has_view_permission(request, model):
            context = {
                "title": model.display_name,
                "subtitle": None,
                "badges": badges(model),
                **versions_context(request, model),
                **self.page_context(model),
                **context,
            }
        return super().change_view(request, object_id, form_url, context)

    def page_context(self, model: DiscoveredModel) -> dict[str, Any]:
        """Return what the page of a model shows beside its form."""
        return {"page": page_of(model)}

    def check_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Look at a model's files again, and say what is wrong with them."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        model = get_object_or_404(DiscoveredModel.objects.select_related("root"), pk=pk)
        if not self.has_view_permission(request, model):
            raise PermissionDenied
        page = reverse("admin:models_app_discoveredmodel_change", args=[pk])
        try:
            here = as_on(model, settings.MAGI_NODE)
        except NotOnNodeError:
            nodes = " and ".join(nodes_of(model)) or home_of(model)
            text = f"Not looked at: its files are on node {nodes}, and are read there."
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(page)
        if problems := validate(here):
            for problem in problems:
                self.message_user(request, f"Wrong: {problem}.", messages.ERROR)
        else:
            text = "All is well: its files are there, of the size that was scanned, and sound."
            self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(page)

    def get_readonly_fields(
        self, request: HttpRequest, obj: DiscoveredModel | None = None
    ) -> list[str]:
        names = [field.name for field in DiscoveredModel._meta.fields]
        editable = set(self.editable_fields)
        if obj is not None and not obj.has_tier:
            editable.discard("tier_override")
        return [name for name in names if name not in editable]

    def save_model(
        self,
        request: HttpRequest,
        obj: DiscoveredModel,
        form: ModelForm[Any],
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        is_override = not set(OVERRIDES).isdisjoint(form.changed_data)
        action = Action.OVERRIDE if is_override else Action.UPDATE
        save_overrides([obj], columns=form.changed_data, action=action)

    def delete_model(self, request: HttpRequest, obj: DiscoveredModel) -> None:
        self.delete_queryset(request, DiscoveredModel.objects.filter(pk=obj.pk))

    def delete_queryset(
        self, request: HttpRequest, queryset: QuerySet[DiscoveredModel]
    ) -> None:
        delete_rows(DiscoveredModel.objects.filter(pk__in=queryset.values("pk")), told=TOLD)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # models are found, not typed in
