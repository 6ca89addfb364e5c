"""What entries of the audit are about: a word for each kind of row, and what tells its rows.

Each app names its own in `ready()`. A row that nobody named is told by its primary key.
"""

from typing import NamedTuple

from django.db.models import Model


class Target(NamedTuple):
    kind: str
    id: str  # never changes, and where it can be, is the same for a row that is made again
    name: str = ""


class _Named(NamedTuple):
    model: type[Model]
    kind: str
    by: str  # a field


_named: dict[str, _Named] = {}  # by kind


def name_targets(model: type[Model], kind: str, *, by: str = "pk") -> None:
    """Call the rows of `model` a `kind`, and tell them by the field `by`."""
    _named[kind] = _Named(model, kind, by)


def kinds() -> list[str]:
    return sorted(_named)


def target_of(row: Model) -> Target:
    """Return what an entry about `row` names."""
    for named in _named.values():
        if isinstance(row, named.model):
            return Target(named.kind, str(getattr(row, named.by)), str(row))
    return Target(str(row._meta.verbose_name), str(row.pk), str(row))


def row_of(kind: str, target_id: str) -> Model | None:
    """Return the row that an entry is about, if it is there still."""
    named = _named.get(kind)
    if named is None:
        return None
    try:
        return named.model._default_manager.filter(**{named.by: target_id}).first()
    except ValueError:  # no number, and primary keys are
        return None
