"""Benchmarks in the admin: what was measured, charts of it, and two side by side."""

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from models_app.errors import ModelsError, QueueUnavailableError
from models_app.models import DiscoveredModel
from profiles_app.errors import ProfilesError
from servers_app.bench import service
from servers_app.bench.applying import (
    apply_expected_time,
    challenges,
    expected_seconds,
    why_not_applied,
)
from servers_app.bench.comparing import NAMES, Comparison, compare
from servers_app.bench.model_card import state_badge
from servers_app.bench.pictures import charts_of
from servers_app.bench.plan import QUICK, Plan
from servers_app.bench.results import figures_of, get_benchmark
from servers_app.bench.terminal import deviation, shown, where
from servers_app.benchmark_models import BENCHMARK_UNDER_WAY, Benchmark
from servers_app.errors import ServersError
from servers_app.following import WHEN_BACK
from servers_app.node_admin import ShownAdmin
from servers_app.tuning.applying import apply_tuning
from servers_app.tuning.service import request_tuning

ADD = "servers_app.add_benchmark"
CHANGE = "servers_app.change_benchmark"
APPLY = "profiles_app.change_profile"
TAKE = "profiles_app.change_modelrunsettings"
PLANS = {"quick": QUICK, "full": Plan()}


@admin.register(Benchmark)
class BenchmarkAdmin(ShownAdmin[Benchmark]):
    list_display = (
        "when",
        "model_id",
        "kind",
        "node",
        "state_badge",
        "prompt_rate",
        "generation_rate",
        "first_token",
        "peak",
        "asked_by",
    )
    list_filter = ("state", "kind", "node", "model_id")
    search_fields = ("model_id", "build", "asked_by")
    actions = ("compare_selected",)
    change_list_template = "admin/servers_app/benchmark/change_list.html"
    change_form_template = "admin/servers_app/benchmark/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Benchmark]:
        queryset = super().get_queryset(request)
        match = request.resolver_match
        is_list = match is not None and (match.url_name or "").endswith("changelist")
        return queryset.defer("figures", "outcome", "settings") if is_list else queryset

    @admin.display(description="When", ordering="asked_at")
    def when(self, obj: Benchmark) -> str:
        return f"{timezone.localtime(obj.asked_at):%Y-%m-%d %H:%M}"

    @admin.display(description="State", ordering="state")
    def state_badge(self, obj: Benchmark) -> SafeString:
        return state_badge(obj)

    @admin.display(description="Prompt, tokens/s", ordering="prompt_tokens_per_s")
    def prompt_rate(self, obj: Benchmark) -> str:
        return shown(obj.prompt_tokens_per_s)

    @admin.display(description="Generation, tokens/s", ordering="generation_tokens_per_s")
    def generation_rate(self, obj: Benchmark) -> str:
        return shown(obj.generation_tokens_per_s)

    @admin.display(description="Most memory, MiB", ordering="peak_ram_mib")
    def peak(self, obj: Benchmark) -> str:
        return "-" if obj.peak_ram_mib is None else f"{obj.peak_ram_mib:,}"

    @admin.display(description="First token, ms", ordering="first_token_ms")
    def first_token(self, obj: Benchmark) -> str:
        return shown(obj.first_token_ms)

    @admin.action(description="Compare the two selected")
    def compare_selected(
        self, request: HttpRequest, queryset: QuerySet[Benchmark]
    ) -> HttpResponse | None:
        numbers = list(queryset.order_by("pk").values_list("pk", flat=True)[:3])
        if len(numbers) != 2:
            self.message_user(request, "Select two benchmarks to compare.", messages.ERROR)
            return None
        page = reverse("admin:servers_app_benchmark_compare")
        query = urlencode({"a": numbers[0], "b": numbers[1]})
        return HttpResponseRedirect(f"{page}?{query}")

    # -- pages and buttons

    def get_urls(self) -> list[URLPattern]:
        view, name = self.admin_site.admin_view, "servers_app_benchmark"
        return [
            path("compare/", view(self.compare_view), name=f"{name}_compare"),
            path("measure/<int:pk>/", view(self.measure_view), name=f"{name}_measure"),
            path("tune/<int:pk>/", view(self.tune_view), name=f"{name}_tune"),
            path("<int:pk>/cancel/", view(self.cancel_view), name=f"{name}_cancel"),
            path("<int:pk>/apply/", view(self.apply_view), name=f"{name}_apply"),
            path("<int:pk>/take/", view(self.take_view), name=f"{name}_take"),
            *super().get_urls(),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        benchmark = self.get_object(request, object_id)
        context: dict[str, Any] = {}
        if benchmark is not None and self.has_view_permission(request, benchmark):
            context = _page(benchmark, request)
        return super().change_view(
            request, object_id, form_url, {**context, **(extra_context or {})}
        )

    def compare_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):  # admin_view asks only for staff
            raise PermissionDenied
        found, why = _compared(request.GET.get("a", ""), request.GET.get("b", ""))
        context = {
            **self.admin_site.each_context(request),
            "title": "Two benchmarks",
            "opts": self.opts,
            "found": found,
            "why_not": why,
            "lines": [
                {
                    "label": line.label,
                    "before": _spread_text(line.difference.before),
                    "after": _spread_text(line.difference.after),
                    "sentence": line.sentence,
                    "colour": {"better": "ready", "worse": "failed"}.get(line.direction, "tag"),
                    "p": "-" if line.p is None else f"{line.p:.2g}",
                }
                for line in (found.lines if found else ())
            ],
        }
        return TemplateResponse(request, "admin/servers_app/benchmark/compare.html", context)

    def measure_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Measure a model; the button is on its page."""
        plan = PLANS.get(request.POST.get("plan", ""), QUICK)
        ask = partial(service.request_benchmark, **plan.as_json())
        return self._asked(request, pk, ask, "Measuring")

    def tune_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Search for faster settings of a model; the button is on its page."""
        return self._asked(request, pk, request_tuning, "Searching for faster settings of")

    def cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        benchmark = self._posted(request, pk, CHANGE)
        if isinstance(benchmark, HttpResponse):
            return benchmark
        if benchmark.state in BENCHMARK_UNDER_WAY:
            service.cancel_benchmark(benchmark, who=request.user.get_username())
            self.message_user(request, f"Cancelling benchmark {pk}.")
        else:
            self.message_user(request, f"Benchmark {pk} has ended already.", messages.WARNING)
        return self._back(pk)

    def apply_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        benchmark = self._posted(request, pk, CHANGE, APPLY)
        if isinstance(benchmark, HttpResponse):
            return benchmark
        try:
            done = apply_expected_time(benchmark, who=request.user.get_username())
        except (ServersError, ProfilesError) as error:
            self.message_user(request, f"Not done: {error}", messages.ERROR)
        else:
            text = (
                f"Profile {done.profile} expects {done.after:g} s of the tier {done.tier} now; "
                f"it was {done.before:g} s."
            )
            self.message_user(request, text, messages.SUCCESS)
        return self._back(pk)

    def take_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Write what a search found into the run settings of its model."""
        benchmark = self._posted(request, pk, TAKE)
        if isinstance(benchmark, HttpResponse):
            return benchmark
        try:
            taken = apply_tuning(benchmark, who=request.user.get_username())
        except (ServersError, ModelsError) as error:
            self.message_user(request, f"Not done: {error}", messages.ERROR)
        else:
            text = f"Settings of {benchmark.model_id}: {taken.sentence}"
            self.message_user(request, text, messages.SUCCESS)
        return self._back(pk)

    def _asked(
        self, request: HttpRequest, pk: int, ask: Callable[..., Benchmark], doing: str
    ) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm(ADD):
            raise PermissionDenied
        model = get_object_or_404(DiscoveredModel.objects.select_related("root"), pk=pk)
        try:
            ask(model, who=request.user.get_username())
        except QueueUnavailableError as error:
            self.message_user(request, f"{error} {WHEN_BACK}", messages.WARNING)
        except (ServersError, ModelsError) as error:
            self.message_user(request, f"Not done: {error}", messages.ERROR)
        else:
            self.message_user(request, f"{doing} {model}, when it is its turn.")
        page = reverse("admin:models_app_discoveredmodel_change", args=[pk])
        return HttpResponseRedirect(f"{page}#benchmarks")

    def _posted(
        self, request: HttpRequest, pk: int, *permissions: str
    ) -> Benchmark | HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perms(permissions):
            raise PermissionDenied
        return get_object_or_404(Benchmark, pk=pk)

    def _back(self, pk: int) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:servers_app_benchmark_change", args=[pk]))


def _page(benchmark: Benchmark, request: HttpRequest) -> dict[str, Any]:
    figures = list(figures_of(benchmark))
    is_applicable = not why_not_applied(benchmark)
    return {
        "title": f"Benchmark of {benchmark.model_id}",
        "badge": state_badge(benchmark),
        "is_under_way": benchmark.state in BENCHMARK_UNDER_WAY,
        "percent": round(100 * benchmark.progress),
        "facts": _facts(benchmark),
        "charts": charts_of(benchmark),
        "rows": [
            {
                "where": where(figure),
                "name": NAMES[figure.name],
                "cells": [
                    shown(figure.spread.median),
                    shown(figure.spread.mean),
                    deviation(figure.spread),
                    shown(figure.spread.min),
                    shown(figure.spread.max),
                ],
                "count": figure.spread.count,
            }
            for figure in figures
        ],
        "settings": sorted(benchmark.settings.items()),
        "challenges": challenges(benchmark) if is_applicable else [],
        "expected": expected_seconds(benchmark) if is_applicable else None,
        "may_cancel": request.user.has_perm(CHANGE),
        "may_apply": is_applicable and request.user.has_perms((CHANGE, APPLY)),
        "may_take": request.user.has_perm(TAKE),
        "model": DiscoveredModel.objects.filter(model_id=benchmark.model_id).first(),
    }


def _facts(benchmark: Benchmark) -> list[tuple[str, str]]:
    plan = benchmark.plan
    load = f"{shown(benchmark.load_seconds)} s" if benchmark.load_seconds else "-"
    memory = f"{benchmark.peak_ram_mib:,} MiB" if benchmark.peak_ram_mib else "-"
    if benchmark.peak_vram_mib:
        memory += f", {benchmark.peak_vram_mib:,} MiB on GPUs"
    return [
        ("Node", benchmark.node),
        ("Machine", benchmark.machine or "-"),
        ("Engine", benchmark.build or "-"),
        ("Asked by", benchmark.asked_by or "-"),
        ("Rounds", str(plan.get("repeats", "-"))),
        ("Tokens of an answer", str(plan.get("tokens", "-"))),
        ("Server", "its own" if plan.get("target") == "own" else "the model's, as it ran"),
        ("First load", load),
        ("Memory at its peak", memory),
    ]


def _compared(a: str, b: str) -> tuple[Comparison | None, str]:
    if not (a.isdecimal() and b.isdecimal() and len(a) < 19 and len(b) < 19):
        return None, "Select two benchmarks in the list to compare."
    try:
        return compare(get_benchmark(int(a)), get_benchmark(int(b))), ""
    except ServersError as error:
        return None, str(error)


def _spread_text(spread: Any) -> str:
    return f"{shown(spread.median)} ± {deviation(spread)}"
