"""The fields of a profile: what JSON says with the right type, and YAML as people type it.

In YAML `name: 2024` is text to whoever wrote it; JSON has quotes to tell. A serializer whose
context has `is_yaml` takes a number for a text, and no other takes one type for another.
"""

import math
import re
from typing import Any

from django.conf import settings as django_settings
from django.db.models import TextChoices
from rest_framework import serializers
from rest_framework.settings import api_settings

from profiles_app.aliases import alias_problem
from profiles_app.runsettings import check

NO_LIMIT = {math.inf, "inf", ".inf"}
MAX_NODES = 100
MAX_NODE_CHARS = 100  # as the column of their names holds
# Nothing that forges a line of a log, a path, or a name on a screen.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def is_text(field: "serializers.Field[Any, Any, Any, Any]", data: object) -> bool:
    """Whether `data` is a text to a field: a string, or in YAML a number."""
    if isinstance(data, str):
        return True
    is_number = isinstance(data, int | float) and not isinstance(data, bool)
    return is_number and bool(field.context.get("is_yaml"))


class FiniteFloatField(serializers.FloatField):
    """A number: neither NaN, which passes every bound, nor infinite, nor a truth value."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool | str):
            self.fail("invalid")
        value = float(super().to_internal_value(data))
        if not math.isfinite(value):
            self.fail("invalid")
        return value


class ScoreLimitField(FiniteFloatField):
    """A score, or no limit: `.inf` in YAML, null in JSON."""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        return super().run_validation(_null_if_no_limit(data))


class WholeNumberField(serializers.IntegerField):
    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool | str):
            self.fail("invalid")
        return super().to_internal_value(data)


class SecondsLimitField(WholeNumberField):
    """A time, or no limit: `.inf` in YAML, null in JSON."""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        return super().run_validation(_null_if_no_limit(data))


class TruthField(serializers.BooleanField):
    """True or false, and no word or number for one."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class OneOfField(serializers.ChoiceField):
    """One of a few words; who writes another is told which."""

    def __init__(self, words: type[TextChoices], **options: Any) -> None:
        known = ", ".join(words.values)
        message = f'"{{input}}" is not a valid choice. Use one of: {known}.'
        super().__init__(words.choices, error_messages={"invalid_choice": message}, **options)


class TextField(serializers.CharField):
    """Text that can be shown, in several lines if `is_long`."""

    def __init__(self, *, is_long: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.is_long = is_long

    def to_internal_value(self, data: Any) -> str:
        if not is_text(self, data):
            self.fail("invalid")
        text = super().to_internal_value(data)
        if _UNPRINTABLE.search(
            text.replace("\n", "").replace("\t", "") if self.is_long else text
        ):
            msg = "It has control characters."
            raise serializers.ValidationError(msg)
        return text


class ProseField(serializers.CharField):
    """Text of any characters, as it was sent."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> str:
        if not is_text(self, data):
            self.fail("invalid")
        return super().to_internal_value(data)


class RunSettingsField(serializers.JSONField):
    """llama-server's settings, only those that somebody set; runsettings.py knows them."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        cleaned, problems = check(
            {} if data is None else data,
            allowed_args=django_settings.MAGI_ALLOWED_EXTRA_ARGS,
        )
        if problems:
            by_path: dict[str, list[str]] = {}
            for path, text in problems:
                by_path.setdefault(path or api_settings.NON_FIELD_ERRORS_KEY, []).append(text)
            raise serializers.ValidationError(by_path)
        return cleaned


class NameField(serializers.SlugField):
    """A name of letters, digits, - and _."""

    def to_internal_value(self, data: Any) -> str:
        if not is_text(self, data):
            self.fail("invalid")
        return super().to_internal_value(data)


class EngineField(NameField):
    """The name of a llama-server, never its path; empty or null for the default."""

    default_error_messages = {
        "invalid": "Give a name of LLAMA_SERVER_BUILDS, or `embedded`; a path is no name."
    }

    def __init__(self) -> None:
        super().__init__(max_length=64, allow_blank=True, allow_null=True, default="")

    def run_validation(self, data: Any = serializers.empty) -> str:
        return super().run_validation(data) or ""


class ModelIdField(TextField):
    """The id of a model; empty or null for none."""

    def __init__(self) -> None:
        super().__init__(max_length=200, allow_blank=True, allow_null=True, default="")

    def run_validation(self, data: Any = serializers.empty) -> str:
        return super().run_validation(data) or ""


class AliasField(TextField):
    def to_internal_value(self, data: Any) -> str:
        alias = super().to_internal_value(data)
        if why := alias_problem(alias):
            raise serializers.ValidationError(why)
        return alias


class NodesField(serializers.ListField):
    """Names of nodes, the first ones first; a name that stands there twice counts once."""

    def __init__(self, **options: Any) -> None:
        child = TextField(max_length=MAX_NODE_CHARS)
        super().__init__(child=child, default=list, max_length=MAX_NODES, **options)

    def to_internal_value(self, data: Any) -> list[str]:
        return list(dict.fromkeys(super().to_internal_value(data)))


def _null_if_no_limit(data: Any) -> Any:
    return None if isinstance(data, float | str) and data in NO_LIMIT else data
