"""Save and delete rows from the admin's plain forms, each with its entry in the audit.

For a ModelAdmin that has no service behind it: its `save_model`, `delete_model` and
`delete_queryset` call these.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import Model, QuerySet
from django.forms import ModelForm

from models_app import audit
from models_app.audit import Change
from models_app.audit_models import Action

M = TypeVar("M", bound=Model)


@transaction.atomic
def save_form(row: Model, form: ModelForm[Any], *, is_new: bool) -> None:
    """Save a row as a form has it; what it has many of, the admin saves afterwards."""
    own = {field.name for field in _fields(row)}
    names = [name for name in form.changed_data if name in own and name in form.cleaned_data]
    after = {name: form.cleaned_data[name] for name in names}
    if is_new:
        row.save()
        audit.record(Action.CREATE, row, after=after)
        return
    # As it is now, which may not be what the form showed; nobody changes it before us.
    now = type(row)._default_manager.select_for_update().get(pk=row.pk)
    before = _values(now, names)
    row.save()
    audit.record_change(Action.UPDATE, row, before, after)


@transaction.atomic
def delete_rows(rows: QuerySet[M], *, told: Collection[str] = ()) -> None:
    """Delete rows, and write down what they were.

    Args:
        told: the fields that tell what is lost; all of them if none is given.
    """
    audit.record_each(Action.DELETE, list(_deletions(rows, told)))
    rows.delete()


def _deletions(rows: Iterable[M], told: Collection[str]) -> Iterator[Change]:
    for row in rows:
        names = told or [field.name for field in _fields(row)]
        yield Change(row, before=_values(row, names))


def _fields(row: Model) -> list[Any]:
    return [*row._meta.concrete_fields, *row._meta.many_to_many]


def _values(row: Model, names: Collection[str]) -> dict[str, Any]:
    return {
        field.name: list(getattr(row, field.name).all())
        if field.many_to_many
        else getattr(row, field.name)
        for field in _fields(row)
        if field.name in names
    }
