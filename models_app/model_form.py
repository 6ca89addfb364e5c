"""What a person decides of a model, on its page."""

from typing import Any

from django import forms

from models_app.models import DiscoveredModel, Tier
from models_app.override_fields import OVERRIDES, without_override

_LABELS = {override.column: override for override in OVERRIDES.values()}


class DecisionsForm(forms.ModelForm[DiscoveredModel]):
    """The form remembers what it showed: what somebody else has saved since is not undone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            # Who sends no such thing, as a script may, is taken to have seen what is there.
            is_told = not self.is_bound or self.add_initial_prefix(name) in self.data
            field.show_hidden_initial = is_told
            if override := _LABELS.get(name):
                by_rules = f"{without_override(override, self.instance)} (auto)"
                field.help_text = ""
                if name == "tier_override":
                    field.widget.choices = [("", by_rules), *Tier.choices]
                else:
                    field.widget.choices = [
                        ("unknown", by_rules), ("true", "on"), ("false", "off"),
                    ]  # fmt: skip
        if "notes" in self.fields:
            self.fields["notes"].widget.attrs["rows"] = 3

    def clean(self) -> dict[str, Any] | None:
        for name in self.changed_data:
            field = self[name]
            if field.html_initial_name not in self.data or name in self.errors:
                continue
            shown = field.field.to_python(self.data[field.html_initial_name])
            now = self.initial.get(name)
            if (shown or None) != (now or None) and shown != now:
                self.add_error(
                    name,
                    f"Somebody else has set this to {now if now not in ('', None) else 'auto'} "
                    "meanwhile. Nothing of yours was saved: load this page again, then choose.",
                )
        return super().clean()
