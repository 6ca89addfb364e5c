"""What a migration does to a MAGI of the version before, which serves while it runs.

A database is migrated first, and the processes are restarted one by one after that: so an
older MAGI meets the newer tables. It writes rows without the new columns and reads those
that it knows. What it would stumble over waits for a later version: first a version that no
longer uses a column, and after that one that removes it.
"""

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any, Final, NamedTuple

from django.db import models
from django.db.migrations import Migration, operations
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState
from django.db.models import Field, Q
from django.db.models.constraints import BaseConstraint

Key = tuple[str, str]  # app, name


class Kind(Enum):
    BREAKS = "breaks"  # an older MAGI that runs meanwhile
    LOCKS = "locks"  # those who write, for as long as a table is gone through
    DATA = "data"  # rows are changed, which a restore of an older archive would leave out
    ONE_WAY = "one way"  # cannot be taken back


class Effect(NamedTuple):
    kind: Kind
    text: str


# No row and no older MAGI notices these.
_HARMLESS: Final = (
    operations.CreateModel,
    operations.AlterModelOptions,
    operations.AlterModelManagers,
    operations.AlterModelTableComment,
    operations.RemoveConstraint,
    operations.RemoveIndex,
    operations.RenameIndex,
)


def losses(loader: MigrationLoader, keys: Iterable[Key]) -> list[str]:
    """Return why rows from before these migrations do not fit into tables from after them."""
    return [
        effect.text
        for key in keys
        for effect in effects(loader, key)
        if effect.kind in (Kind.BREAKS, Kind.DATA)
    ]


def effects(loader: MigrationLoader, key: Key) -> Iterator[Effect]:
    """Yield what the migration `key` does that an older MAGI, or its rows, would notice."""
    migration = loader.graph.nodes[key]
    if migration is None:
        return
    state = loader.project_state(key, at_end=False)
    seen = _Seen(migration)
    for operation in migration.operations:
        for kind, text in seen.effects(operation, state):
            yield Effect(kind, f"{key[0]}.{key[1]} {text}")
        state = state.clone()
        operation.state_forwards(key[0], state)


class _Seen:
    """One migration, operation by operation: what is new in it is nobody's yet."""

    def __init__(self, migration: Migration) -> None:
        self._app = migration.app_label
        self._tables: set[str] = set()
        self._columns: set[tuple[str, str]] = set()
        self._removed: dict[tuple[str, str], BaseConstraint] = {}

    def effects(self, operation: Operation, state: ProjectState) -> Iterator[tuple[Kind, str]]:
        if isinstance(operation, operations.CreateModel):
            self._tables.add(operation.name_lower)
        elif isinstance(operation, operations.RunPython | operations.RunSQL):
            yield Kind.DATA, "changes rows"
            if not operation.reversible:
                yield Kind.ONE_WAY, "cannot be taken back: give it a reverse"
        elif isinstance(operation, operations.AddField):
            yield from self._added(operation)
        elif isinstance(operation, operations.AlterField):
            yield from self._altered(operation, state)
        elif isinstance(operation, operations.AddConstraint):
            yield from self._constrained(operation)
        elif isinstance(operation, operations.AddIndex):
            if operation.model_name_lower not in self._tables:
                yield (
                    Kind.LOCKS,
                    f"has writers of {operation.model_name} wait while its index is made",
                )
        elif isinstance(operation, operations.RemoveConstraint):
            table = self._table(state, operation.model_name)
            self._removed[operation.model_name_lower, operation.name] = (
                table.get_constraint_by_name(operation.name)
            )
        elif not isinstance(operation, _HARMLESS):
            what = operation.describe()
            yield Kind.BREAKS, f"does what an older MAGI does not expect ({what})"

    def _table(self, state: ProjectState, name: str) -> ModelState:
        table: ModelState = state.models[self._app, name.lower()]
        return table

    def _added(self, operation: operations.AddField) -> Iterator[tuple[Kind, str]]:
        name, field = operation.name, operation.field
        self._columns.add((operation.model_name_lower, name))
        if operation.model_name_lower in self._tables or field.many_to_many:
            return
        if not field.null and not field.has_db_default():
            yield (
                Kind.BREAKS,
                f"adds {operation.model_name}.{name}, without which no row can be written: "
                "give it null=True or a db_default",
            )
        elif field.unique and not field.null:
            yield Kind.BREAKS, f"adds {operation.model_name}.{name}, which is to be unique"

    def _altered(
        self, operation: operations.AlterField, state: ProjectState
    ) -> Iterator[tuple[Kind, str]]:
        if operation.model_name_lower in self._tables:
            return
        before: Field[Any, Any] = self._table(state, operation.model_name).get_field(
            operation.name
        )
        after: Field[Any, Any] = operation.field
        what = f"{operation.model_name}.{operation.name}"
        if before.null and not after.null:
            yield Kind.BREAKS, f"has {what} be there always"
        if after.unique and not before.unique:
            yield Kind.BREAKS, f"has {what} be unique"
        if before.get_internal_type() != after.get_internal_type():
            yield Kind.BREAKS, f"makes something else of {what}"
        longest = after.max_length
        if longest is not None and (before.max_length is None or before.max_length > longest):
            yield Kind.BREAKS, f"makes {what} shorter"

    def _constrained(self, operation: operations.AddConstraint) -> Iterator[tuple[Kind, str]]:
        table, constraint = operation.model_name_lower, operation.constraint
        if table in self._tables:
            return
        before = self._removed.get((table, constraint.name))
        if not self._is_wider(table, before, constraint):
            yield (
                Kind.BREAKS,
                f"holds {operation.model_name} by {constraint.name} more tightly than before",
            )

    def _is_wider(
        self, table: str, before: BaseConstraint | None, after: BaseConstraint
    ) -> bool:
        """Whether all that `before` let pass does so still; columns that are new are free."""
        if isinstance(after, models.UniqueConstraint):
            return any((table, name) in self._columns for name in after.fields)
        if not isinstance(after, models.CheckConstraint):
            return False
        allowed = _parts(after.condition)
        known = _parts(before.condition) if isinstance(before, models.CheckConstraint) else {}
        if allowed is None or known is None:
            return False
        for lookup, values in allowed.items():
            if (table, lookup.split("__")[0]) in self._columns:
                continue
            if lookup not in known:
                return False
            if not (known[lookup] == values or _is_superset(values, known[lookup])):
                return False
        return True


def _parts(condition: object) -> dict[str, Any] | None:
    """Return the lookups that must all hold; None where it is more than that."""
    if not isinstance(condition, Q) or condition.negated or condition.connector != Q.AND:
        return None
    if not all(isinstance(child, tuple) for child in condition.children):
        return None
    return {str(child[0]): child[1] for child in condition.children if isinstance(child, tuple)}


def _is_superset(values: object, others: object) -> bool:
    if not isinstance(values, list | tuple) or not isinstance(others, list | tuple):
        return False
    return set(others) <= set(values)
