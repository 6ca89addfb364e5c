"""The rules of discovery in the admin: how models are classed, and what that comes to."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, Q
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from models_app.audit_forms import save_form
from models_app.models import KINDS_WITH_TIER, DiscoveredModel, DiscoveryRules, Tier
from models_app.rules import retier
from models_app.tiers import TINY_MAX


@admin.register(DiscoveryRules)
class DiscoveryRulesAdmin(admin.ModelAdmin[DiscoveryRules]):
    """One row: its list is its form."""

    change_form_template = "admin/models_app/discoveryrules/change_form.html"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        rules, _ = DiscoveryRules.objects.get_or_create(pk=1)
        page = reverse("admin:models_app_discoveryrules_change", args=[rules.pk])
        return HttpResponseRedirect(page)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {
            "title": "How models are classed",
            "subtitle": None,
            "classes": _classes(),
            "tiny_max": TINY_MAX,
            **(extra_context or {}),
        }
        return super().change_view(request, object_id, form_url, context)

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


def _classes() -> list[dict[str, Any]]:
    """Return how many models the rules put into each tier, and of how many people say else."""
    rows = DiscoveredModel.objects.filter(kind__in=KINDS_WITH_TIER).order_by()
    counted = rows.values("assigned_tier").annotate(
        count=Count("pk"), overridden=Count("pk", filter=~Q(tier_override=""))
    )
    counts = {row["assigned_tier"]: row for row in counted}
    nothing = {"count": 0, "overridden": 0}
    return [{"tier": tier, **(counts.get(tier.value) or nothing)} for tier in Tier]
