"""The forms of profiles and run settings: what is wrong is said at its field, before a save."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db.models import Model

from models_app.models import Tier
from profiles_app.admin_fields import AliasesField, NamesField, SettingsField
from profiles_app.aliases import clashes
from profiles_app.engines import engine_names, no_such_engine, unknown_settings
from profiles_app.filepaths import misplaced_files
from profiles_app.models import (
    BaseRunSettings,
    ModelRunSettings,
    Profile,
    ProfileMember,
    ProfileVersion,
    TierRule,
)
from profiles_app.preset_models import SamplingPreset
from profiles_app.reading import find_parent
from profiles_app.rows import field_of, sections_of
from profiles_app.runsettings import check
from profiles_app.serializers import (
    MemberSerializer,
    ProfileSerializer,
    TierRuleSerializer,
    defaults,
    problems_of,
)
from profiles_app.services import slug_of

M = TypeVar("M", bound=Model)
SETTINGS_HELP = (
    "A line for each: ctx_size: 8192. What is not said is as the layer below has it."
)


class RunSettingsForm(forms.ModelForm[M]):
    """A form whose run settings are checked before they are saved, each by its name."""

    run_settings = SettingsField(help_text=SETTINGS_HELP)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        values = cleaned.get("run_settings") or {}
        unknown = unknown_settings(self.engine(), values)
        for place, sentence in (*unknown, *misplaced_files(values)):
            self.add_error("run_settings", f"{place}: {sentence}")
        return cleaned

    def engine(self) -> str:
        """Return which llama-server gets the settings: that of the active profile."""
        active = Profile.objects.filter(is_active=True).values_list("engine", flat=True)
        return active.first() or ""

    def clean_run_settings(self) -> dict[str, Any]:
        cleaned, problems = check(
            self.cleaned_data["run_settings"] or {},
            allowed_args=settings.MAGI_ALLOWED_EXTRA_ARGS,
        )
        if problems:
            raise ValidationError(
                [f"{path}: {text}" if path else text for path, text in problems]
            )
        return cleaned


class BaseRunSettingsForm(RunSettingsForm[BaseRunSettings]):
    class Meta:
        model = BaseRunSettings
        fields = ("run_settings",)


class ModelRunSettingsForm(RunSettingsForm[ModelRunSettings]):
    class Meta:
        model = ModelRunSettings
        fields = ("model_id", "run_settings")


class ProfileForm(RunSettingsForm[Profile]):
    """Remembers which version of the profile it shows, so that two people do not collide."""

    seen = forms.IntegerField(widget=forms.HiddenInput, required=False)
    slug = forms.SlugField(
        max_length=100,
        required=False,
        help_text="Its name in the API and of its file. Left empty, it is made of the name.",
    )
    extends = forms.ModelChoiceField(
        Profile.objects.all(),
        required=False,
        empty_label="No other profile",
        help_text=Profile._meta.get_field("extends").help_text,
    )
    placement_nodes = NamesField(
        required=False,
        label="Nodes",
        help_text="Their names, with commas, the first ones first. Empty: every node.",
    )

    class Meta:
        model = Profile
        exclude = ("version",)  # noqa: DJ006 - the admin's fieldsets say which are shown
        labels = {
            "two_stage_enabled": "Two stages are on",
            "two_stage_stage1_tier": "First stage",
            "two_stage_stage1_max_tokens": "Its tokens at most",
            "two_stage_stage2_tier": "Second stage",
            "load_balancing_enabled": "Share requests among replicas",
            "load_balancing_strategy": "Strategy",
            "health_check_interval": "Health check, seconds",
            "routing_cold_wait_seconds": "Cold wait, seconds",
            "start": "Servers start",
            "restart_policy": "Restart",
            "idle_ttl_seconds": "Idle stop, seconds",
            "drain_seconds": "Drain, seconds",
            "queue_limit": "Queue, requests",
            "queue_wait_seconds": "Queue, seconds",
            "memory_budget_mib": "Memory budget, MiB",
            "eviction": "What gives way",
            "placement_rule": "A server goes to",
            "placement_failover": "Servers of a lost node start on another",
            "placement_failover_after_seconds": "Lost after, seconds",
        }
        help_texts = {
            "health_check_interval": "Between two of a server.",
            "two_stage_enabled": "A request to two-stage is answered by both.",
            "routing_cold_wait_seconds": "How long auto waits for a model of the right tier "
            "before another tier answers. Empty: as long as it takes.",
        }
        widgets = {"description": forms.Textarea(attrs={"rows": 2})}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.initial["seen"] = self.instance.version
        _offer(self, "engine", engine_names(), "The default")
        presets = SamplingPreset.objects.values_list("name", flat=True)
        _offer(self, "preset", presets, "None")
        if self.instance.pk and "extends" in self.fields:
            others = Profile.objects.exclude(pk=self.instance.pk)
            self.fields["extends"].queryset = others  # type: ignore[attr-defined]

    def engine(self) -> str:
        name: str = self.cleaned_data.get("engine", "")
        return name

    def clean_engine(self) -> str:
        name = self.engine()
        if why_not := no_such_engine(name):
            raise ValidationError(why_not)
        return name

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        slug = self.instance.slug or cleaned.get("slug") or slug_of(cleaned.get("name", ""))
        if not self.instance.pk:
            if Profile.objects.filter(slug=slug).exists():
                text = f"There is a profile '{slug}' already. Choose another name."
                self.add_error("slug" if cleaned.get("slug") else "name", text)
            else:
                cleaned["slug"] = slug
        parent = cleaned.get("extends")
        _, why_not = find_parent(parent.slug if parent else None, slug)
        if why_not:
            self.add_error("extends", why_not)
        if self.instance.pk:
            self._refuse_a_lost_change(cleaned.get("seen"))
        return cleaned

    def _post_clean(self) -> None:
        """Hold the row against the bounds that a profile's document has."""
        super()._post_clean()  # type: ignore[misc]  # the stubs do not know it
        row = self.instance
        document = {
            **defaults(),
            **sections_of(row),
            "name": row.name,
            "description": row.description,
        }
        serializer = ProfileSerializer(data=document)
        if not serializer.is_valid():
            for path, sentence in problems_of(serializer.errors):
                name = field_of(path)
                if name in self.fields and name not in self.errors:
                    self.add_error(name, sentence)

    def _refuse_a_lost_change(self, seen: int | None) -> None:
        # Locked until the admin's transaction ends: nobody saves between this and our save.
        now = Profile.objects.select_for_update().get(pk=self.instance.pk).version
        if seen == now:
            return
        last = ProfileVersion.objects.filter(slug=self.instance.slug, number=now).first()
        who = last.author if last and last.author else "somebody"
        what = last.summary if last else "changed"
        msg = (
            f"{who} saved this profile while you were editing it ({what}). Nothing of yours "
            "was saved. Open it in another tab, and put your changes into the new version."
        )
        raise ValidationError(msg)


class MemberForm(RunSettingsForm[ProfileMember]):
    position = forms.IntegerField(
        min_value=0, max_value=10_000, required=False, label="Order", help_text="Lowest first."
    )
    aliases = AliasesField(
        required=False, label="Aliases", help_text="Other names, with commas: gpt-4o, gpt-4."
    )
    nodes = NamesField(
        required=False, label="Nodes", help_text="Those that may run it. Empty: the profile's."
    )
    tier_override = forms.ChoiceField(
        choices=[("", "As discovered"), *Tier.choices], required=False, label="Tier"
    )

    class Meta:
        model = ProfileMember
        fields = (
            "position",
            "model_id",
            "tier_override",
            "replicas",
            "nodes",
            "aliases",
            "run_settings",
        )
        labels = {"model_id": "Model"}

    def engine(self) -> str:
        profile = self.cleaned_data.get("profile")  # as it is edited
        return profile.engine if isinstance(profile, Profile) else ""

    def clean_model_id(self) -> str:
        model_id: str = self.cleaned_data["model_id"]
        serializer = MemberSerializer(data={"model_id": model_id})
        if not serializer.is_valid():
            raise ValidationError([text for _, text in problems_of(serializer.errors)])
        return model_id

    def clean_position(self) -> int:
        position: int | None = self.cleaned_data["position"]
        return LAST if position is None else position


class TierForm(forms.ModelForm[TierRule]):
    position = forms.IntegerField(
        min_value=0, max_value=10_000, required=False, label="Order", help_text="Lowest first."
    )

    class Meta:
        model = TierRule
        fields = ("position", "name", "max_score", "expected_time_seconds", "description")
        labels = {
            "name": "Tier",
            "max_score": "Up to score",
            "expected_time_seconds": "Expected seconds",
        }

    def clean_position(self) -> int:
        position: int | None = self.cleaned_data["position"]
        return LAST if position is None else position

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        names = ("name", "max_score", "expected_time_seconds", "description")
        known = {name: cleaned[name] for name in names if name in cleaned}
        serializer = TierRuleSerializer(data=known)
        if not serializer.is_valid():
            for path, sentence in problems_of(serializer.errors):
                if path and path[0] in known:
                    self.add_error(str(path[0]), sentence)
        return cleaned


LAST = 10_001  # the place of a row that says none


class OrderedFormSet(forms.BaseInlineFormSet[Any, Profile, Any]):
    """Rows whose places follow from what was typed: 0, 1, 2, whatever stood there."""

    def save(self, commit: bool = True) -> Any:  # noqa: FBT001, FBT002 - Django's signature
        saved = super().save(commit=commit)
        kept = [form for form in self.forms if form.instance.pk and not self.is_off(form)]
        kept.sort(key=lambda form: form.cleaned_data.get("position", LAST))
        for place, form in enumerate(kept):
            rows = type(form.instance)._default_manager.filter(pk=form.instance.pk)
            rows.update(position=place)
        return saved

    def get_unique_error_message(self, unique_check: Iterable[str]) -> str:
        return "Each may stand here once: take the second one out."

    def is_off(self, form: Any) -> bool:
        return self.can_delete and bool(form.cleaned_data.get("DELETE"))


class MemberFormSet(OrderedFormSet):
    """The models of a profile together: no name stands for two of them."""

    def clean(self) -> None:
        by_id: dict[str, Any] = {}
        for form in self.forms:
            model_id = form.cleaned_data.get("model_id")
            if not model_id or self.is_off(form):
                continue
            if model_id in by_id:
                form.add_error("model_id", "The profile enables this model already.")
            by_id.setdefault(model_id, form)
        _refuse_clashes(by_id)
        super().clean()


def _refuse_clashes(by_id: Mapping[str, Any]) -> None:
    aliases = {
        model_id: form.cleaned_data["aliases"]
        for model_id, form in by_id.items()
        if "aliases" in form.cleaned_data
    }
    for model_id, sentence in clashes(aliases):
        by_id[model_id].add_error("aliases", sentence)


def _offer(form: forms.ModelForm[Any], name: str, values: Iterable[str], empty: str) -> None:
    """Have a text chosen from a list; what is not in it, and is there, stays."""
    if name not in form.fields:
        return
    there = sorted({*values, getattr(form.instance, name)} - {""})
    choices = [("", empty), *((value, value) for value in there)]
    form.fields[name].widget = forms.Select(choices=choices)
