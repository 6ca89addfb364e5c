"""What the templates of profiles ask of a form's fields: `{% load profiles %}`."""

from collections.abc import Sequence
from typing import Any

from django import template

from profiles_app.validation import Finding
from profiles_app.yamltext import write_yaml

register = template.Library()


@register.filter
def findings(field: Any) -> Sequence[Finding]:
    """Return what validation says of a field of the admin's form."""
    form, name = _form_and_name(field)
    by_field: dict[str, Sequence[Finding]] = getattr(form, "findings_by_field", {})
    return by_field.get(name, ())


@register.filter
def mib(count: int) -> str:
    return f"{count:,} MiB"


@register.filter
def contents(field: Any) -> Any:
    """Return what a field shows to whom may not change it; JSON as lines of YAML."""
    form, name = _form_and_name(field)
    value = getattr(form.instance, name, None)
    if isinstance(value, dict):
        return write_yaml(value).rstrip("\n") if value else "-"
    return field.contents()


def _form_and_name(field: Any) -> tuple[Any, str]:
    if field.is_readonly:
        return field.form, str(field.field["name"])
    return field.field.form, str(field.field.name)
