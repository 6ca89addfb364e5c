"""Form fields for what a profile's row keeps as JSON, written as people write it."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from profiles_app.aliases import aliases_problems
from profiles_app.errors import YamlProblemError
from profiles_app.yamltext import read_yaml, write_yaml


class SettingsField(forms.CharField):
    """A mapping as lines of `key: value`; YAML, so that JSON is understood, too."""

    def __init__(self, **options: Any) -> None:
        widget = forms.Textarea(attrs={"rows": 2, "spellcheck": "false", "class": "magi-mono"})
        super().__init__(**{"widget": widget, "required": False, **options})

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return write_yaml(value).rstrip("\n") if value else ""
        return value

    def to_python(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return value
        text = str(value or "").strip()
        if not text:
            return {}
        try:
            return read_yaml(text).data
        except YamlProblemError as error:
            raise ValidationError([str(problem) for problem in error.problems]) from error

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.to_python(data) != (initial or {}))
        except ValidationError:
            return True


class NamesField(forms.CharField):
    """Names with commas between them."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        if isinstance(value, list):
            return value
        return [name for part in str(value or "").split(",") if (name := part.strip())]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(data) != (initial or []))


class AliasesField(NamesField):
    """Other names of a model, none of which could be taken for something else."""

    def clean(self, value: Any) -> list[str]:
        aliases: list[str] = super().clean(value)
        if problems := list(aliases_problems(aliases)):
            raise ValidationError(problems)
        return aliases
