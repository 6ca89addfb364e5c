"""Downloads in the admin: how far each is, and the buttons that ask for something."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from models_app.download_asks import PULL, ask_for, copy_again
from models_app.download_models import Download, DownloadSource
from models_app.download_page import badge, bar, buttons, speed, what_it_became
from models_app.downloads.figures import size_text
from models_app.downloads.service import cancel_download
from models_app.page_before import page_before

LIST = "models_app_download_changelist"
CANCEL = "models_app.change_download"


@admin.register(Download)
class DownloadAdmin(admin.ModelAdmin[Download]):
    """What was fetched. A row is made when somebody asks for a model; its worker writes it."""

    change_list_template = "admin/models_app/download/change_list.html"
    change_form_template = "admin/models_app/download/change_form.html"
    list_display = (
        "title",
        "state_badge",
        "bar_shown",
        "speed_shown",
        "buttons",
        "outcome",
        "node",
        "asked_shown",
    )
    list_filter = ("state", "source", "node")
    list_select_related = ("model",)
    list_per_page = 50
    list_max_show_all = 0
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    search_fields = ("reference", "asked_by")
    actions = None
    fields = readonly_fields = ("reference",)  # no form: its page has a template of its own

    # -- the list

    def get_list_display(self, request: HttpRequest) -> Any:
        if request.user.has_perm(CANCEL) or request.user.has_perm(PULL):
            return self.list_display
        return [name for name in self.list_display if name != "buttons"]

    @admin.display(description="Model asked for", ordering="reference")
    def title(self, obj: Download) -> SafeString:
        # The id keeps a row the same row when the list is looked at again in another order.
        return format_html('<span id="download-{}">{}</span>', obj.pk, obj.reference)

    @admin.display(description="State", ordering="state")
    def state_badge(self, obj: Download) -> SafeString:
        return badge(obj)

    @admin.display(description="There", ordering="done_bytes")
    def bar_shown(self, obj: Download) -> SafeString:
        return bar(obj)

    @admin.display(description="Rate, rest")
    def speed_shown(self, obj: Download) -> str:
        return speed(obj)

    @admin.display(description="Ask for")
    def buttons(self, obj: Download) -> SafeString:
        """Buttons of the list's own form: POST, with its CSRF token."""
        return buttons(obj)

    @admin.display(description="Became")
    def outcome(self, obj: Download) -> SafeString:
        return what_it_became(obj)

    @admin.display(description="Asked", ordering="asked_at")
    def asked_shown(self, obj: Download) -> SafeString:
        at = f"{timezone.localtime(obj.asked_at):%Y-%m-%d %H:%M}"
        return format_html("{}<br><small>{}</small>", at, obj.asked_by)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Downloads", **(extra_context or {})})

    # -- the page of one

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        download = self.get_object(request, object_id)
        context = extra_context or {}
        if download is not None:
            context = {
                "title": download.reference,
                "subtitle": None,
                "badge": badge(download),
                "bar": bar(download),
                "speed": speed(download),
                "buttons": buttons(download),
                "files": _files(download),
                **context,
            }
        return super().change_view(request, object_id, form_url, context)

    # -- what can be asked

    def get_urls(self) -> list[URLPattern]:
        asks = [
            path(
                f"<int:pk>/{name}/",
                self.admin_site.admin_view(view),
                name=f"models_app_download_{name}",
            )
            for name, view in (("cancel", self.cancel_view), ("again", self.again_view))
        ]
        return [*asks, *super().get_urls()]

    def cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm(CANCEL):  # admin_view asks only for staff
            raise PermissionDenied
        download = get_object_or_404(Download, pk=pk)
        if download.is_under_way:
            cancel_download(download)
            messages.success(request, f"Cancelling {download.reference}: what came stays.")
        else:
            messages.warning(request, f"Nothing to cancel: {download.reference} had ended.")
        return HttpResponseRedirect(page_before(request, LIST))

    def again_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm(PULL):
            raise PermissionDenied
        last = get_object_or_404(Download.objects.select_related("model__root"), pk=pk)
        if last.source == DownloadSource.NODE:
            copy_again(request, last)
            return HttpResponseRedirect(page_before(request, LIST))
        ask_for(
            request,
            last.reference,
            source=last.source,
            node=last.node,
            revision=last.revision,
            limit_bytes_per_s=last.limit_bytes_per_s,
        )
        return HttpResponseRedirect(page_before(request, LIST))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # the page Get models asks for one

    def has_change_permission(self, request: HttpRequest, obj: Download | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Download | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Download]:
        return super().get_queryset(request).select_related("model")


def _files(download: Download) -> list[dict[str, Any]]:
    return [
        {
            "name": file.get("name", ""),
            "size": size_text(file.get("size_bytes") or 0),
            "percent": str(_percent(file)),
            "sha256": file.get("sha256", ""),
        }
        for file in download.files
    ]


def _percent(file: dict[str, Any]) -> int:
    size = file.get("size_bytes") or 0
    return min(100, int(file.get("done_bytes", 0) * 100 // size)) if size else 100
