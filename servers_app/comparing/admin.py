"""Comparisons in the admin: asked for, seen side by side, voted on, stopped."""

from typing import Any, Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from models_app.errors import ModelsError, QueueUnavailableError
from servers_app.benchmark_models import BENCHMARK_UNDER_WAY, BenchmarkState
from servers_app.comparing import service, votes
from servers_app.comparing.form import ComparisonForm
from servers_app.comparing.progress import progress_of
from servers_app.comparing.prompts import parts_of
from servers_app.comparing.shown import (
    ShownPrompt,
    prompts_shown,
    results_shown,
    speeds_of,
    task_label,
)
from servers_app.comparison_models import Comparison
from servers_app.errors import ServersError
from servers_app.following import WHEN_BACK

LIST: Final = "admin:servers_app_comparison_changelist"
PAGE: Final = "admin:servers_app_comparison_change"
PER_PAGE: Final = 10  # prompts, each with two answers
COLOURS: Final = {
    BenchmarkState.QUEUED: "starting",
    BenchmarkState.RUNNING: "starting",
    BenchmarkState.FINISHED: "ready",
    BenchmarkState.FAILED: "failed",
    BenchmarkState.CANCELLED: "stopped",
}
LABELS: Final = {"left": "Left", "right": "Right", "tie": "As good", "neither": "Neither"}


@admin.register(Comparison)
class ComparisonAdmin(admin.ModelAdmin[Comparison]):
    """What was compared. People ask for one and vote; no row is typed in."""

    list_display = (
        "title",
        "state_badge",
        "model_a",
        "model_b",
        "prompts_shown",
        "votes_shown",
        "asked_at",
        "asked_by",
    )
    list_filter = ("state",)
    search_fields = ("name", "model_a", "model_b", "asked_by")
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    list_per_page = 50
    actions = None
    change_list_template = "admin/servers_app/comparison/change_list.html"
    change_form_template = "admin/servers_app/comparison/change_form.html"
    fields = readonly_fields = ("name",)  # no form: its page has a template of its own

    def get_queryset(self, request: HttpRequest) -> QuerySet[Comparison]:
        counted = super().get_queryset(request)
        return counted.annotate(
            prompt_count=Count("prompts", distinct=True),
            vote_count=Count("prompts__votes", distinct=True),
        )

    # -- the list

    @admin.display(description="Comparison")
    def title(self, obj: Comparison) -> SafeString:
        return format_html('<span id="comparison-{}">{}</span>', obj.pk, obj.name or obj.pk)

    @admin.display(description="State", ordering="state")
    def state_badge(self, obj: Comparison) -> SafeString:
        badge = '<span class="magi-badge magi-{}">{}</span>'
        colour = COLOURS[BenchmarkState(obj.state)]
        return format_html(badge, colour, obj.get_state_display())

    @admin.display(description="Prompts")
    def prompts_shown(self, obj: Any) -> int:
        return int(obj.prompt_count)

    @admin.display(description="Votes")
    def votes_shown(self, obj: Any) -> int:
        return int(obj.vote_count)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"title": "Comparisons", "may_ask": self._may(request, "add_comparison")}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    # -- one

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        comparison = self.get_object(request, object_id)
        context: dict[str, Any] = {"title": "Comparison"}
        if comparison is not None and self.has_view_permission(request, comparison):
            context |= self._shown(request, comparison)
        return super().change_view(
            request, object_id, form_url, {**context, **(extra_context or {})}
        )

    def _shown(self, request: HttpRequest, comparison: Comparison) -> dict[str, Any]:
        who = request.user.get_username()
        shown = prompts_shown(comparison, who=who)
        page = Paginator(shown, PER_PAGE).get_page(request.GET.get("page"))
        is_under_way = comparison.state in BENCHMARK_UNDER_WAY
        speeds = speeds_of(comparison) or {}
        return {
            "title": str(comparison),
            "subtitle": None,
            "badge": self.state_badge(comparison),
            "progress": progress_of(comparison),
            "is_under_way": is_under_way,
            "may_cancel": is_under_way and self._may(request, "change_comparison"),
            "may_vote": self._may(request, "add_vote"),
            "results": [
                (task_label(result["task"]), result) for result in results_shown(comparison)
            ],
            "speeds": [(name, speed) for name, speed in speeds.items() if speed],
            "page": page,
            "pairs": [_pair(prompt) for prompt in page],
            "to_vote": sum(row["can_vote"] and row["vote"] is None for row in shown),
        }

    # -- asking

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        name = "servers_app_comparison"
        return [
            path("new/", wrap(self.new_view), name=f"{name}_new"),
            path("<int:pk>/cancel/", wrap(self.cancel_view), name=f"{name}_cancel"),
            path("<int:pk>/vote/", wrap(self.vote_view), name=f"{name}_vote"),
            *super().get_urls(),
        ]

    def new_view(self, request: HttpRequest) -> HttpResponse:
        if not self._may(request, "add_comparison"):  # admin_view asks only for staff
            raise PermissionDenied
        chosen = {"model_a": request.GET.get("model", "")}
        form = ComparisonForm(
            request.POST if request.method == "POST" else None, initial=chosen
        )
        if request.method == "POST" and form.is_valid():
            return self._ask(request, form)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Compare two models",
            "form": form,
        }
        return TemplateResponse(request, "admin/servers_app/comparison/new.html", context)

    def _ask(self, request: HttpRequest, form: ComparisonForm) -> HttpResponse:
        asked = form.asked()
        try:
            comparison = service.request_comparison(
                *asked.models,
                asked.prompts,
                name=asked.name,
                settings=asked.settings,
                who=request.user.get_username(),
            )
        except QueueUnavailableError as error:
            self.message_user(request, f"{error} {WHEN_BACK}", messages.WARNING)
        except (ServersError, ModelsError) as error:
            self.message_user(request, f"Not compared: {error}", messages.ERROR)
        else:
            self.message_user(request, f"Comparing {comparison}.", messages.SUCCESS)
            return HttpResponseRedirect(reverse(PAGE, args=[comparison.pk]))
        return HttpResponseRedirect(reverse(LIST))

    def cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self._may(request, "change_comparison"):
            raise PermissionDenied
        comparison = get_object_or_404(Comparison, pk=pk)
        service.cancel_comparison(comparison, who=request.user.get_username())
        self.message_user(request, f"Stopping the comparison {comparison}.", messages.SUCCESS)
        return HttpResponseRedirect(reverse(PAGE, args=[pk]))

    def vote_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self._may(request, "add_vote"):
            raise PermissionDenied
        comparison = get_object_or_404(Comparison, pk=pk)
        # A button's name and value: the place of the prompt, and the vote.
        place, _, side = request.POST.get("vote", "").partition(" ")
        number = int(place) if place.isdecimal() and len(place) < 6 else -1
        try:
            prompt = service.get_prompt(comparison, number)
            votes.cast(prompt, side, who=request.user.get_username())
        except ServersError as error:
            self.message_user(request, f"Not voted: {error}", messages.ERROR)
        page = number // PER_PAGE + 1 if number >= 0 else 1
        url = f"{reverse(PAGE, args=[pk])}?page={page}"
        return HttpResponseRedirect(f"{url}#prompt-{number}" if number >= 0 else url)

    # -- nothing is typed in

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: Comparison | None = None
    ) -> bool:
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: Comparison | None = None
    ) -> bool:
        return False  # its votes count

    def _may(self, request: HttpRequest, codename: str) -> bool:
        return request.user.has_perm(f"servers_app.{codename}")


def _pair(prompt: ShownPrompt) -> dict[str, Any]:
    """Return a prompt as the template shows it."""
    text, images = parts_of(prompt["prompt"])
    vote = prompt["vote"]
    sides = [
        {"label": LABELS[side], "answer": answer, "model": model, "is_chosen": vote == side}
        for side, answer, model in (
            ("left", prompt["left"], prompt["left_model"]),
            ("right", prompt["right"], prompt["right_model"]),
        )
    ]
    buttons = [
        {"value": value, "label": label, "is_pressed": vote == value}
        for value, label in LABELS.items()
    ]
    return {
        "prompt": prompt,
        "number": prompt["position"] + 1,
        "task": task_label(prompt["task"]),
        "text": text,
        "images": images,
        "sides": sides,
        "buttons": buttons,
    }
