"""Scan roots in the admin: the folders in which models are looked for."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from models_app.audit_forms import delete_rows, save_form
from models_app.models import DiscoveredModel, ScanRoot
from models_app.page_before import page_before
from models_app.rescan_admin import RESCAN, ask_and_tell, rescan_context
from models_app.roots import look_into, why_no_root


class ScannedFilter(admin.BooleanFieldListFilter):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = "scanned"


class ScanRootForm(ModelForm[ScanRoot]):
    def clean_path(self) -> str:
        path: str = self.cleaned_data["path"]
        if why := why_no_root(path):
            raise ValidationError(why)
        return path


@admin.register(ScanRoot)
class ScanRootAdmin(admin.ModelAdmin[ScanRoot]):
    form = ScanRootForm
    change_list_template = "admin/models_app/scanroot/change_list.html"
    list_display = (
        "path_and_source",
        "kind",
        "node",
        "enabled_badge",
        "models_found",
        "last_scan",
        "health",
        "buttons",
    )
    list_display_links = ("path_and_source",)
    list_filter = ("node", "kind", ("is_enabled", ScannedFilter))
    list_max_show_all = 0
    show_facets = admin.ShowFacets.NEVER
    search_fields = ("path",)
    fields = ("path", "kind", "node", "is_enabled", "last_scan_at", "last_error")
    readonly_fields = ("last_scan_at", "last_error")
    actions = ("test_selected", "rescan_nodes")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ScanRoot]:
        found = DiscoveredModel.objects.filter(root=OuterRef("pk"), is_missing=False)
        counted = found.order_by().values("root").annotate(count=Count("pk"))
        queryset = super().get_queryset(request)
        return queryset.annotate(found=Coalesce(Subquery(counted.values("count")), 0))

    @admin.display(description="Folder", ordering="path")
    def path_and_source(self, obj: ScanRoot) -> str:
        source = " <small>from MODEL_SCAN_PATH</small>" if obj.from_settings else ""
        return format_html("{}" + source, obj.path)

    @admin.display(description="Last scan", ordering="last_scan_at", empty_value="never")
    def last_scan(self, obj: ScanRoot) -> datetime | None:
        return obj.last_scan_at

    @admin.display(description="Scanned", ordering="is_enabled")
    def enabled_badge(self, obj: ScanRoot) -> str:
        colour, word = ("enabled", "yes") if obj.is_enabled else ("stopped", "no")
        return format_html('<span class="magi-badge magi-{}">{}</span>', colour, word)

    @admin.display(description="Models", ordering="found")
    def models_found(self, obj: ScanRoot) -> str:
        return f"{getattr(obj, 'found', 0):,}"

    @admin.display(description="What the last scan says", ordering="last_error")
    def health(self, obj: ScanRoot) -> str:
        if obj.last_error:
            return format_html(
                '<span class="magi-error">{}</span> <small>Mend that, or take the folder off, '
                "then rescan.</small>",
                obj.last_error,
            )
        return "It could be read." if obj.last_scan_at else "Not scanned yet: rescan."

    @admin.display(description="", empty_value=" ")
    def buttons(self, obj: ScanRoot) -> str:
        if obj.node != settings.MAGI_NODE:
            return ""  # what this machine has under that path says nothing of it
        return format_html(
            '<button class="magi-ask" formmethod="post" formaction="{}">Test</button>',
            reverse("admin:models_app_scanroot_test", args=[obj.pk]),
        )

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {
            "title": "Scan roots",
            "may_rescan": request.user.has_perm(RESCAN),
            **rescan_context(request),
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"node": settings.MAGI_NODE, **super().get_changeform_initial_data(request)}

    def get_urls(self) -> list[URLPattern]:
        test = path(
            "<int:pk>/test/",
            self.admin_site.admin_view(self.test_view),
            name="models_app_scanroot_test",
        )
        return [test, *super().get_urls()]

    def test_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        root = get_object_or_404(ScanRoot, pk=pk)
        if not self.has_view_permission(request, root):
            raise PermissionDenied
        self._test(request, root)
        return HttpResponseRedirect(page_before(request, "models_app_scanroot_changelist"))

    @admin.action(description="Test selected scan roots", permissions=["view"])
    def test_selected(self, request: HttpRequest, queryset: QuerySet[ScanRoot]) -> None:
        for root in queryset:
            self._test(request, root)

    def _test(self, request: HttpRequest, root: ScanRoot) -> None:
        finding = look_into(root)
        level = messages.SUCCESS if finding.is_readable else messages.ERROR
        self.message_user(request, f"Looked into {root.path}: {finding}", level)

    @admin.action(description="Rescan the nodes of selected roots", permissions=["rescan"])
    def rescan_nodes(self, request: HttpRequest, queryset: QuerySet[ScanRoot]) -> None:
        ask_and_tell(request, sorted(set(queryset.values_list("node", flat=True))))

    def has_rescan_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(RESCAN)

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
        delete_rows(ScanRoot.objects.filter(pk__in=queryset.values("pk")))
