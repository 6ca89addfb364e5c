from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from models_app import audit_admin, user_admin  # noqa: F401 - to register
from models_app.audit_forms import delete_rows, save_form
from models_app.audit_models import Action
from models_app.errors import ModelsError
from models_app.models import DiscoveredModel, DiscoveryRules, Scan, ScanRoot, ScanState
from models_app.pruning import TOLD
from models_app.rescans import request_rescan
from models_app.roots import look_into, why_no_root
from models_app.rules import OVERRIDES, retier, save_overrides


class ScanRootForm(ModelForm[ScanRoot]):
    def clean_path(self) -> str:
        path: str = self.cleaned_data["path"]
        if why := why_no_root(path):
            raise ValidationError(why)
        return path


@admin.register(ScanRoot)
class ScanRootAdmin(admin.ModelAdmin[ScanRoot]):
    form = ScanRootForm
    list_display = ("path", "kind", "node", "is_enabled", "last_scan_at", "last_error")
    list_filter = ("node", "kind", "is_enabled")
    search_fields = ("path",)
    readonly_fields = ("last_scan_at", "last_error")
    actions = ("test_selected", "rescan_nodes")

    @admin.action(description="Test selected scan roots", permissions=["view"])
    def test_selected(self, request: HttpRequest, queryset: QuerySet[ScanRoot]) -> None:
        for root in queryset:
            finding = look_into(root)
            level = messages.SUCCESS if finding.is_readable else messages.ERROR
            self.message_user(request, f"Looked into {root.path}: {finding}", level)

    @admin.action(description="Rescan the nodes of selected roots", permissions=["rescan"])
    def rescan_nodes(self, request: HttpRequest, queryset: QuerySet[ScanRoot]) -> None:
        for node in sorted(set(queryset.values_list("node", flat=True))):
            try:
                request_rescan(node)
            except ModelsError as error:
                self.message_user(request, str(error), messages.ERROR)
            else:
                self.message_user(request, f"Rescanning node {node}; see Scans.")

    def has_rescan_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("models_app.add_scan")  # as the REST call asks for

    def save_model(
        self,
        request: HttpRequest,
        obj: ScanRoot,
        form: ModelForm[Any],
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        save_form(obj, form, is_new=not change)

    def delete_model(self, request: HttpRequest, obj: ScanRoot) -> None:
        delete_rows(ScanRoot.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ScanRoot]) -> None:
        delete_rows(queryset)


@admin.register(DiscoveryRules)
class DiscoveryRulesAdmin(admin.ModelAdmin[DiscoveryRules]):
    """One row: its list is its form."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        rules, _ = DiscoveryRules.objects.get_or_create(pk=1)
        page = reverse("admin:models_app_discoveryrules_change", args=[rules.pk])
        return HttpResponseRedirect(page)

    def save_model(
        self,
        request: HttpRequest,
        obj: DiscoveryRules,
        form: ModelForm[Any],
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        save_form(obj, form, is_new=not change)
        changed = retier(obj)
        self.message_user(request, f"Models classed anew: {len(changed)}.")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: DiscoveryRules | None = None
    ) -> bool:
        return False


@admin.register(Scan)
class ScanAdmin(admin.ModelAdmin[Scan]):
    """What each scan made of every file it saw."""

    list_display = (
        "started_at",
        "node",
        "state_badge",
        "files_seen",
        "time_taken",
        "added",
        "updated",
        "unchanged",
        "missing",
        "skipped",
    )
    list_filter = ("node", "state")
    list_per_page = 50
    show_full_result_count = False
    fields = (*list_display, "scan_paths", "skipped_files", "root_errors")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Scan]:
        queryset = super().get_queryset(request)
        match = request.resolver_match
        is_list = match is not None and (match.url_name or "").endswith("changelist")
        return queryset.defer("report") if is_list else queryset

    @admin.display(description="State", ordering="state")
    def state_badge(self, obj: Scan) -> str:
        colour = "ready" if obj.state == ScanState.FINISHED else "failed"
        if obj.state == ScanState.RUNNING:
            colour = "starting"
        return format_html(
            '<span class="magi-badge magi-{}">{}</span>', colour, obj.get_state_display()
        )

    @admin.display(description="Time", ordering="seconds")
    def time_taken(self, obj: Scan) -> str:
        if obj.seconds is None:
            return "-"
        return f"{obj.seconds:.2f} s ({obj.files_per_second or 0:,.0f} files/s)"

    @admin.display(description="Scan roots")
    def scan_paths(self, obj: Scan) -> str:
        return format_html_join(
            "", "<div>{}</div>", ((path,) for path in obj.report.get("scan_paths", []))
        )

    @admin.display(description="Skipped files")
    def skipped_files(self, obj: Scan) -> str:
        return _reasons(obj.report.get("skipped", []))

    @admin.display(description="Folders not looked into")
    def root_errors(self, obj: Scan) -> str:
        return _reasons(obj.report.get("root_errors", []))

    def delete_model(self, request: HttpRequest, obj: Scan) -> None:
        self.delete_queryset(request, Scan.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Scan]) -> None:
        delete_rows(queryset, told=("node", "state", "started_at"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Scan | None = None) -> bool:
        return False


def _reasons(items: list[dict[str, str]]) -> str:
    if not items:
        return "none"
    rows = format_html_join(
        "", "<tr><td>{}</td><td>{}</td></tr>", ((i["reason"], i["path"]) for i in items)
    )
    return format_html(
        '<table><thead><tr><th scope="col">Why</th><th scope="col">File</th></tr></thead>'
        "<tbody>{}</tbody></table>",
        rows,
    )


@admin.register(DiscoveredModel)
class DiscoveredModelAdmin(admin.ModelAdmin[DiscoveredModel]):
    """What was found. People change the overrides and the notes, and nothing else."""

    list_display = (
        "name_and_badges",
        "size",
        "quantization",
        "tier_shown",
        "port",
        "status",
        "model_id",
    )
    list_filter = ("assigned_tier", "kind", "family", "is_missing")
    list_select_related = ("root",)
    list_per_page = 50
    search_fields = ("model_id", "display_name", "filename", "repo_id")
    show_full_result_count = False
    editable_fields = ("tier_override", "thinking_override", "notes")

    @admin.display(description="Model", ordering="display_name")
    def name_and_badges(self, obj: DiscoveredModel) -> str:
        badges = [
            label
            for label, holds in (
                ("CODER", obj.is_coder),
                ("INSTRUCT", obj.is_instruct),
                ("THINKING", obj.is_thinking),
                (obj.kind.upper(), obj.kind != "text"),
            )
            if holds
        ]
        tags = format_html_join(
            "", ' <span class="magi-badge magi-tag">{}</span>', ((badge,) for badge in badges)
        )
        return format_html("{}{}", obj.display_name, tags)

    @admin.display(description="Size", ordering="size_params")
    def size(self, obj: DiscoveredModel) -> str:
        return f"{obj.size_params:g}B" if obj.size_params is not None else "-"

    @admin.display(description="Tier", ordering="assigned_tier")
    def tier_shown(self, obj: DiscoveredModel) -> str:
        return (obj.tier or "-") + ("*" if obj.tier_override else "")

    @admin.display(description="Status", ordering="is_missing")
    def status(self, obj: DiscoveredModel) -> str:
        if obj.is_missing:
            return format_html('<span class="magi-badge magi-missing">{}</span>', "missing")
        if obj.problem:
            return format_html('<span class="magi-badge magi-failed">{}</span>', obj.problem)
        return format_html('<span class="magi-badge magi-stopped">{}</span>', "found")

    def get_readonly_fields(
        self, request: HttpRequest, obj: DiscoveredModel | None = None
    ) -> list[str]:
        names = [field.name for field in DiscoveredModel._meta.fields]
        return [name for name in names if name not in self.editable_fields]

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
        delete_rows(queryset, told=TOLD)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # models are found, not typed in
