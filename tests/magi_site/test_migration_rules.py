"""A MAGI of the version before serves on while the database is migrated."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.models import Q

from magi_site.migration_rules import Effect, Kind, effects

# The first of each app that is held to it. What came before was never upgraded in place.
SINCE = {"models_app": "0007", "profiles_app": "0005", "servers_app": "0007"}
# Migrations that remove what the version before has stopped to use: APP.NAME, and which
# version that was. Another kind of exception there is none.
CONTRACTED: dict[str, str] = {}


def _held() -> Iterator[tuple[MigrationLoader, tuple[str, str]]]:
    loader = MigrationLoader(None, ignore_no_migrations=True)
    for app, name in sorted(loader.disk_migrations):
        if app in SINCE and name >= SINCE[app]:
            yield loader, (app, name)


def test_all_of_our_apps_are_held_to_it() -> None:
    ours = {config.label for config in apps.get_app_configs() if config.name.endswith("_app")}

    assert SINCE.keys() == ours


def test_no_migration_breaks_a_magi_that_serves_meanwhile() -> None:
    found = [
        effect.text
        for loader, key in _held()
        if ".".join(key) not in CONTRACTED
        for effect in effects(loader, key)
        if effect.kind in (Kind.BREAKS, Kind.LOCKS)
    ]

    assert found == []


def test_every_migration_can_be_taken_back() -> None:
    one_way = [
        effect.text
        for loader, key in _held()
        for effect in effects(loader, key)
        if effect.kind == Kind.ONE_WAY
    ]

    assert one_way == []


def found_in(*operations: Operation) -> set[Kind]:
    """Return what a migration of these would do after the newest one of servers_app."""
    loader = MigrationLoader(None, ignore_no_migrations=True)
    (newest,) = loader.graph.leaf_nodes("servers_app")
    key = ("servers_app", "9999_tried")
    migration: Any = migrations.Migration(key[1], key[0])
    migration.dependencies = [newest]
    migration.operations = list(operations)
    loader.graph.add_node(key, migration)
    loader.graph.add_dependency(migration, key, newest)
    return {effect.kind for effect in _all(loader, key)}


def _all(loader: MigrationLoader, key: tuple[str, str]) -> list[Effect]:
    return list(effects(loader, key))


STATES = ["stopped", "starting", "ready", "unhealthy", "stopping", "failed"]


def states(*values: str) -> list[Operation]:
    """Have the state of a server be one of `values`."""
    name = "server_state_known"
    check = models.CheckConstraint(condition=Q(state__in=list(values)), name=name)
    return [
        migrations.RemoveConstraint("server", name),
        migrations.AddConstraint("server", check),
    ]


@pytest.mark.parametrize(
    "operations",
    [
        pytest.param(
            [migrations.AddField("node", "x", models.IntegerField(null=True))], id="null"
        ),
        pytest.param(
            [migrations.AddField("node", "x", models.IntegerField(default=1, db_default=1))],
            id="a default of the database's",
        ),
        pytest.param(
            [migrations.CreateModel("New", [("id", models.BigAutoField(primary_key=True))])],
            id="a table",
        ),
        pytest.param(
            [migrations.AlterField("node", "name", models.CharField(max_length=200))],
            id="longer",
        ),
        pytest.param(states(*STATES, "parked"), id="one word more"),
    ],
)
def test_what_is_added_bothers_nobody(operations: list[Operation]) -> None:
    assert not found_in(*operations) & {Kind.BREAKS, Kind.LOCKS, Kind.DATA}


@pytest.mark.parametrize(
    "operations",
    [
        pytest.param(
            [migrations.AddField("node", "x", models.IntegerField(default=1))],
            id="a default of Django's alone, without which older code writes",
        ),
        pytest.param([migrations.RemoveField("node", "address")], id="a field goes"),
        pytest.param([migrations.RenameField("node", "address", "host")], id="a new name"),
        pytest.param([migrations.RenameModel("Node", "Machine")], id="a table's new name"),
        pytest.param([migrations.DeleteModel("EngineBuild")], id="a table goes"),
        pytest.param([migrations.AlterModelTable("node", "nodes")], id="another table"),
        pytest.param(
            [migrations.AlterField("server", "port", models.PositiveIntegerField())],
            id="never null any more",
        ),
        pytest.param(
            [migrations.AlterField("node", "name", models.CharField(max_length=5))],
            id="shorter",
        ),
        pytest.param(
            [migrations.AlterField("node", "name", models.IntegerField())], id="another kind"
        ),
        pytest.param(
            [
                migrations.AlterField(
                    "node", "address", models.CharField(max_length=255, unique=True)
                )
            ],
            id="unique",
        ),
        pytest.param(states(*STATES[:-1]), id="one word less"),
        pytest.param(
            [
                migrations.AddConstraint(
                    "node", models.UniqueConstraint(fields=["address"], name="new_unique")
                )
            ],
            id="a new constraint",
        ),
    ],
)
def test_what_older_code_would_stumble_over_is_found(operations: list[Operation]) -> None:
    assert Kind.BREAKS in found_in(*operations)


def test_an_index_of_a_table_that_is_written_to_is_found() -> None:
    index = models.Index(fields=["address"], name="node_address")

    assert found_in(migrations.AddIndex("node", index)) == {Kind.LOCKS}


def test_rows_that_are_changed_for_good_are_found() -> None:
    forth = migrations.RunPython(migrations.RunPython.noop)
    back = migrations.RunPython(migrations.RunPython.noop, migrations.RunPython.noop)

    assert found_in(forth) == {Kind.DATA, Kind.ONE_WAY}
    assert found_in(back) == {Kind.DATA}
