"""The page of recommendations: which models fit on a node, and a profile of them."""

from collections.abc import Mapping
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse

from magi_site.pages.page import AdminPage
from models_app.task_kinds import TaskKind
from profiles_app.errors import ProfilesError
from servers_app.errors import NoHardwareError, ServersError
from servers_app.models import Node
from servers_app.recommend.places import place_of
from servers_app.recommend.profile import make_profile
from servers_app.recommend.service import MAX_LIMIT, Recommendations, recommend

MAY_MAKE: Final = "profiles_app.add_profile"


class AskForm(forms.Form):
    """For what, and where."""

    task = forms.ChoiceField(choices=TaskKind.choices, required=False)
    node = forms.CharField(max_length=100, required=False)


class ProfileForm(AskForm):
    name = forms.CharField(
        max_length=100, error_messages={"required": "Give the profile a name."}
    )


class RecommendationsPage(AdminPage):
    title = "Recommendations"
    permission = "models_app.view_discoveredmodel"
    template_name = "admin/magi/recommendations.html"

    def post(self, request: HttpRequest) -> HttpResponse:
        if not request.user.has_perm(MAY_MAKE):
            raise PermissionDenied
        form = ProfileForm(request.POST)
        if not form.is_valid():
            for problem in form.errors.values():
                messages.error(request, f"Not made: {problem[0]}")
            return self._again(form.data)
        task, node = form.cleaned_data["task"], form.cleaned_data["node"]
        try:
            found = recommend(place_of(node), task or TaskKind.GENERAL)
            author = request.user.get_username()
            made = make_profile(found, form.cleaned_data["name"], author=author)
        except (ServersError, ProfilesError) as error:
            messages.error(request, f"Not made: {error}")
            return self._again(form.data)
        messages.success(
            request,
            f"Made profile {made.profile.name}: {made.memory_mib:,} of {made.room_mib:,} MiB. "
            "Nothing runs by it before it is activated.",
        )
        page = reverse("admin:profiles_app_profile_change", args=[made.profile.pk])
        return HttpResponseRedirect(page)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        form = AskForm(self.request.GET)
        asked = form.cleaned_data if form.is_valid() else {}
        task = asked.get("task") or TaskKind.GENERAL.value
        node = asked.get("node") or settings.MAGI_NODE
        found, trouble = _found(task, node)
        names = set(Node.objects.exclude(hardware={}).values_list("name", flat=True))
        return super().get_context_data(
            tasks=TaskKind.choices,
            task=task,
            nodes=sorted(names | {settings.MAGI_NODE}),
            node=node,
            found=found,
            shown=found.recommended[:MAX_LIMIT] if found else [],
            others=found.others[:MAX_LIMIT] if found else [],
            trouble=trouble,
            may_make=self.request.user.has_perm(MAY_MAKE),
            **kwargs,
        )

    def _again(self, data: Mapping[str, Any]) -> HttpResponse:
        query = QueryDict(mutable=True)
        query.update({name: data[name] for name in ("task", "node") if data.get(name)})
        return HttpResponseRedirect(f"{self.request.path}?{query.urlencode()}")


def _found(task: str, node: str) -> tuple[Recommendations | None, str]:
    """Return what is recommended, or why nothing can be."""
    try:
        return recommend(place_of(node), task), ""
    except NoHardwareError as error:
        return None, str(error)
