"""API keys in the admin: made by its form and shown once, then only to be read, or revoked."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import flatten_fieldsets
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from servers_app import apikeys
from servers_app.apikey_models import ApiKey, Scope
from servers_app.errors import ApiKeyError

LIST = "admin:servers_app_apikey_changelist"


class ApiKeyForm(forms.ModelForm[ApiKey]):
    model_ids = forms.CharField(
        label="Models",
        required=False,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="Ids of the models it may use, a line each. Empty: all models.",
    )

    class Meta:
        model = ApiKey
        fields = (
            "name",
            "may_read",
            "may_infer",
            "may_manage",
            "model_ids",
            "expires_at",
            "rate_limit_per_minute",
        )

    def clean_model_ids(self) -> list[str]:
        return str(self.cleaned_data["model_ids"]).split()

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if not self.errors:
            try:
                apikeys.check(ApiKey(**self.cleaned_data))
            except ApiKeyError as error:
                raise forms.ValidationError(str(error)) from error
        return cleaned


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("in-use", "In use"), ("expired", "Expired"), ("revoked", "Revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        has_expired = Q(expires_at__lte=timezone.now())
        match self.value():
            case "in-use":
                return queryset.filter(revoked_at=None).exclude(has_expired)
            case "expired":
                return queryset.filter(has_expired, revoked_at=None)
            case "revoked":
                return queryset.exclude(revoked_at=None)
            case _:
                return queryset


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin[ApiKey]):
    form = ApiKeyForm
    list_display = (
        "name",
        "prefix",
        "state_badge",
        "scopes_shown",
        "models_shown",
        "rate_limit_per_minute",
        "expires_at",
        "created_at",
        "created_by",
        "last_used_at",
        "button",
    )
    list_filter = (StateFilter, "may_read", "may_infer", "may_manage")
    search_fields = ("name", "prefix", "created_by")
    show_facets = admin.ShowFacets.NEVER
    actions = ("revoke_selected",)
    change_form_template = "admin/servers_app/apikey/change_form.html"
    fieldsets = (
        (None, {"fields": ("name",)}),
        ("Scopes", {"fields": (("may_read", "may_infer", "may_manage"),)}),
        ("Limits", {"fields": ("model_ids", "expires_at", "rate_limit_per_minute")}),
    )
    shown = (
        (
            None,
            {
                "fields": (
                    ("name", "prefix", "state_badge"),
                    ("scopes_shown", "models_shown", "rate_limit_per_minute", "expires_at"),
                    ("created_at", "created_by", "last_used_at", "revoked_at"),
                )
            },
        ),
    )

    # -- what is shown

    @admin.display(description="State")
    def state_badge(self, obj: ApiKey) -> SafeString:
        colour, text = "ready", "In use"
        if obj.revoked_at is not None:
            colour, text = "stopped", "Revoked"
        elif obj.has_expired():
            colour, text = "failed", "Expired"
        return format_html('<span class="magi-badge magi-{}">{}</span>', colour, text)

    @admin.display(description="Scopes")
    def scopes_shown(self, obj: ApiKey) -> str:
        return ", ".join(str(scope.label) for scope in Scope if scope in obj.scopes)

    @admin.display(description="Models")
    def models_shown(self, obj: ApiKey) -> str:
        ids = format_html_join("", "<div>{}</div>", ((one,) for one in obj.model_ids))
        return ids or "all"

    @admin.display(description="")
    def button(self, obj: ApiKey) -> str:
        """Lead to the page that says what revoking means, and does it."""
        if obj.revoked_at is not None:
            return ""
        link = '<a class="magi-ask is-grave" href="{}" aria-label="Revoke {}">Revoke…</a>'
        return format_html(link, _revoke_url(obj), obj.name)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "API keys", **(extra_context or {})})

    def get_list_display(self, request: HttpRequest) -> Any:
        if self.has_revoke_permission(request):
            return self.list_display
        return [name for name in self.list_display if name != "button"]

    def get_fieldsets(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return self.fieldsets if obj is None else self.shown

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        return [] if obj is None else flatten_fieldsets(self.get_fieldsets(request, obj))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        key = self.get_object(request, object_id)
        context: dict[str, Any] = {"title": "API key"}
        if key is not None and key.revoked_at is None and self.has_revoke_permission(request):
            context["revoke_url"] = _revoke_url(key)
        return super().change_view(
            request, object_id, form_url, {**context, **(extra_context or {})}
        )

    # -- a new one

    def save_model(
        self,
        request: HttpRequest,
        obj: ApiKey,
        form: forms.ModelForm[ApiKey],
        change: bool,  # noqa: FBT001 - Django's signature
    ) -> None:
        obj.secret = apikeys.issue(obj, who=request.user.get_username())

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the secret in the answer itself: a message would be kept until it is shown."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "API key made",
            "key": obj,
            "secret": obj.secret,
        }
        page = "admin/servers_app/apikey/made.html"
        return TemplateResponse(request, page, context)

    def changeform_view(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        try:
            return super().changeform_view(request, *args, **options)
        except ApiKeyError as error:  # somebody was faster; nothing was saved
            self.message_user(request, f"Not made: {error}", messages.ERROR)
            return HttpResponseRedirect(request.path)

    # -- the end of one

    @admin.action(description="Revoke selected keys", permissions=["revoke"])
    def revoke_selected(
        self, request: HttpRequest, queryset: QuerySet[ApiKey]
    ) -> HttpResponse | None:
        if "confirmed" not in request.POST:
            return self._ask(request, list(queryset), action=request.get_full_path())
        for key in queryset:
            self._revoke(request, key)
        return None

    def get_urls(self) -> list[URLPattern]:
        revoke = path(
            "<int:pk>/revoke/",
            self.admin_site.admin_view(self.revoke_view),
            name="servers_app_apikey_revoke",
        )
        return [revoke, *super().get_urls()]

    def revoke_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        if not self.has_revoke_permission(request):  # admin_view asks only for staff
            raise PermissionDenied
        key = get_object_or_404(ApiKey, pk=pk)
        if request.method != "POST":
            return self._ask(request, [key], action=_revoke_url(key))
        self._revoke(request, key)
        return HttpResponseRedirect(reverse(LIST))

    def _ask(self, request: HttpRequest, keys: list[ApiKey], *, action: str) -> HttpResponse:
        """Say who would be refused from now on, and ask for a confirmation."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Revoke API keys" if len(keys) > 1 else f"Revoke the API key {keys[0]}",
            "keys": [(key, self.scopes_shown(key)) for key in keys],
            "action": action,
            "is_action": action != _revoke_url(keys[0]),
        }
        return TemplateResponse(request, "admin/servers_app/apikey/revoke.html", context)

    def _revoke(self, request: HttpRequest, key: ApiKey) -> None:
        try:
            apikeys.revoke(key, who=request.user.get_username())
        except ApiKeyError as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            self.message_user(request, f"Revoked the key {key}.", messages.SUCCESS)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("servers_app.change_apikey")

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False  # what a key is for does not change under who uses it

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False  # the request log names it


def _revoke_url(key: ApiKey) -> str:
    return reverse("admin:servers_app_apikey_revoke", args=[key.pk])
