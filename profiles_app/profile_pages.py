"""The pages of a profile beside its form: its YAML, a copy, an import, an export."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from profiles_app.errors import Problem, ProfileInvalidError, ProfilesError
from profiles_app.files import yaml_of
from profiles_app.model_search import as_json, find_models
from profiles_app.models import Profile
from profiles_app.services import save_yaml
from profiles_app.templates import copy_profile, renamed
from profiles_app.yamlapi import YAML
from profiles_app.yamltext import MAX_BYTES

_TEXT = forms.Textarea(
    attrs={"rows": 28, "spellcheck": "false", "class": "magi-mono", "data-yaml": ""}
)


class YamlForm(forms.Form):
    text = forms.CharField(label="YAML", strip=False, widget=_TEXT)
    seen = forms.IntegerField(widget=forms.HiddenInput)


class NameForm(forms.Form):
    name = forms.CharField(
        max_length=100, help_text="Its name in the API and of its file are made of it."
    )


class ImportForm(forms.Form):
    file = forms.FileField(required=False, label="A YAML file", help_text="Of at most 256 KiB.")
    text = forms.CharField(required=False, label="or its text", strip=False, widget=_TEXT)
    name = forms.CharField(
        max_length=100,
        required=False,
        label="Under another name",
        help_text="Left empty, it is called as it calls itself.",
    )
    replace = forms.BooleanField(
        required=False,
        label="Replace the profile of that name, if there is one",
        help_text="What it was stays among its versions.",
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        file = cleaned.get("file")
        if file is not None:
            cleaned["text"] = _text_of(file)
        if not (cleaned.get("text") or "").strip() and not self.errors:
            self.add_error("file", "Choose a file, or paste its text below.")
        return cleaned


def _text_of(file: Any) -> str:
    if file.size > MAX_BYTES:
        msg = f"The file has {file.size:,} bytes; a profile has at most {MAX_BYTES:,}."
        raise forms.ValidationError({"file": msg})
    try:
        text: str = file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = "The file is not UTF-8: save it as UTF-8, then choose it again."
        raise forms.ValidationError({"file": msg}) from error
    return text


class ProfilePages(admin.ModelAdmin[Profile]):
    """What is asked for goes to the services that the REST API asks, too."""

    def get_urls(self) -> list[URLPattern]:
        pages: dict[str, tuple[str, Callable[..., HttpResponse]]] = {
            "import": ("import/", self.import_view),
            "models": ("models/", self.models_view),
            "yaml": ("<int:pk>/yaml/", self.yaml_view),
            "export": ("<int:pk>/export/", self.export_view),
            "copy": ("<int:pk>/copy/", self.copy_view),
        }
        ours: list[URLPattern] = [
            path(route, self.admin_site.admin_view(view), name=f"profiles_app_profile_{name}")
            for name, (route, view) in pages.items()
        ]
        return [*ours, *super().get_urls()]

    def profile_or_404(self, request: HttpRequest, pk: int) -> Profile:
        """Return a profile that may be seen by whom asks."""
        profile = Profile.objects.select_related("extends").filter(pk=pk).first()
        if not self.has_view_permission(request, profile):
            raise PermissionDenied
        if profile is None:
            msg = "There is no such profile any more."
            raise Http404(msg)
        return profile

    def context_of(self, request: HttpRequest, profile: Profile, page: str) -> dict[str, Any]:
        """Return what each page of a profile shows above its own."""
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "profile": profile,
            "page_name": page,
            "may_change": self.has_change_permission(request, profile),
            "may_add": self.has_add_permission(request),
            "may_delete": self.has_delete_permission(request, profile),
        }

    def models_view(self, request: HttpRequest) -> HttpResponse:
        """Answer a search for models, for the form of a profile."""
        if not request.user.has_perm("models_app.view_discoveredmodel"):
            raise PermissionDenied
        found = find_models(request.GET.get("q", ""))
        return JsonResponse({"models": [as_json(model) for model in found]})

    def yaml_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show a profile as YAML, and save it as it was edited there."""
        profile = self.profile_or_404(request, pk)
        may_change = self.has_change_permission(request, profile)
        problems: list[Problem] = []
        form = YamlForm({"text": yaml_of(profile), "seen": profile.version})
        if request.method == "POST":
            if not may_change:
                raise PermissionDenied
            form = YamlForm(request.POST)
            if form.is_valid():
                problems = self._save(
                    request,
                    form.cleaned_data["text"],
                    slug=profile.slug,
                    seen=form.cleaned_data["seen"],
                )
                if not problems:
                    return HttpResponseRedirect(request.path)
        context = {
            **self.context_of(request, profile, "yaml"),
            "title": f"YAML: {profile.name}",
            "form": form,
            "problems": problems,
        }
        return TemplateResponse(request, "admin/profiles_app/profile/yaml.html", context)

    def export_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Send a profile's YAML as a file."""
        profile = self.profile_or_404(request, pk)
        name = f"{profile.slug}.yaml"
        return HttpResponse(
            yaml_of(profile),
            content_type=f"{YAML}; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    def copy_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask for a name, and make a profile of that name that is like this one."""
        profile = self.profile_or_404(request, pk)
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = NameForm(request.POST or None, initial={"name": f"{profile.name} 2"})
        if request.method == "POST" and form.is_valid():
            try:
                name = form.cleaned_data["name"]
                author = request.user.get_username()
                made = copy_profile(profile, name, author=author)
            except ProfilesError as error:
                form.add_error("name", str(error))
            else:
                self.message_user(request, f"Copied {profile} to {made}.", messages.SUCCESS)
                return _to("change", made)
        context = {
            **self.context_of(request, profile, "copy"),
            "title": f"Copy: {profile.name}",
            "form": form,
        }
        return TemplateResponse(request, "admin/profiles_app/profile/copy.html", context)

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """Make a profile of a YAML file, or of its text."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        problems: list[Problem] = []
        form = ImportForm(request.POST or None, request.FILES or None)
        if not self.has_change_permission(request):
            del form.fields["replace"]
        if request.method == "POST" and form.is_valid():
            cleaned = form.cleaned_data
            is_new = not cleaned.get("replace")
            problems = self._save(request, cleaned["text"], name=cleaned["name"], is_new=is_new)
            if not problems:
                return HttpResponseRedirect(reverse("admin:profiles_app_profile_changelist"))
            # The text of a file, too, is mended here.
            form = ImportForm(initial={**cleaned, "file": None})
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Import a profile",
            "form": form,
            "problems": problems,
        }
        return TemplateResponse(request, "admin/profiles_app/profile/import.html", context)

    def _save(
        self, request: HttpRequest, text: str, *, name: str = "", **options: Any
    ) -> list[Problem]:
        """Save a text as a browser sends it, or return what is wrong with it."""
        text = text.replace("\r\n", "\n")
        try:
            text = renamed(text, name) if name else text
            profile = save_yaml(text, author=request.user.get_username(), **options)
        except ProfileInvalidError as error:
            return error.problems
        except ProfilesError as error:
            return [Problem(None, "", str(error))]
        self.message_user(request, f"Saved {profile}, version {profile.version}.")
        return []


def _to(page: str, profile: Profile) -> HttpResponseRedirect:
    return HttpResponseRedirect(
        reverse(f"admin:profiles_app_profile_{page}", args=[profile.pk])
    )
