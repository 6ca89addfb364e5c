"""Whatever files come, change and go on nodes, and in whichever order these are scanned."""

import hashlib
import os
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from models_app import registry
from models_app.copies import nodes_of
from models_app.copy_models import ModelCopy
from models_app.models import DiscoveredModel
from models_app.roots import add_root
from models_app.scanned import HUGGINGFACE
from tests.at_once import at_once
from tests.models_app.nodes import IDENTITY, NAME, Nodes, content, on
from tests.models_app.scans import add_to_cache

NODES = ("a", "b", "c")
GIVE, SCAN, PRUNE, FORGET = "give", "scan", "prune", "forget"

steps = st.lists(
    st.one_of(
        st.tuples(st.just(GIVE), st.sampled_from(NODES), st.sampled_from([1, 2, 3, None])),
        st.tuples(st.just(SCAN), st.sampled_from(NODES), st.none()),
        st.tuples(st.sampled_from([PRUNE, FORGET]), st.sampled_from(NODES), st.none()),
    ),
    max_size=25,
)


class World:
    """Nodes, what each has on its disk, and what was ever seen in the registry."""

    def __init__(self, folder: Path) -> None:
        self.nodes = Nodes(folder)
        self.has: dict[str, int | None] = dict.fromkeys(NODES)
        self.decided: dict[int, tuple[Any, ...]] = {}  # by primary key

    def do(self, what: str, node: str, number: int | None) -> None:
        if what == GIVE:
            self.nodes.give(node, number)
            self.has[node] = number
        elif what == FORGET:
            self.nodes.forget(node)
        else:
            kept = self._present()
            self.nodes.scan(node, prune=what == PRUNE)
            self._check_scanned(node)
            elsewhere = {pk for pk, nodes in kept.items() if nodes - {node}}
            rows = set(DiscoveredModel.objects.values_list("pk", flat=True))
            assert elsewhere <= rows
            if what == SCAN:
                assert self.decided.keys() <= rows
            self._decide(rows)

    def settle(self) -> None:
        """Scan all nodes until nothing is new to any of them."""
        for _ in range(2):
            for node in NODES:
                self.do(SCAN, node, None)
        for node in NODES:
            report = self.nodes.scan(node)
            assert (report.added, report.updated) == ([], [])
            assert len(report.unchanged) == (self.has[node] is not None)
        for node in NODES:
            self._check_scanned(node)
        named = DiscoveredModel.objects.filter(identity=IDENTITY, is_missing=False).first()
        if named is not None:  # whoever has what that is has no row of its own
            size = named.size_bytes
            ours = [number for number in self.has.values() if number and _size(number) == size]
            alike = [n for n in ours if _blob(n) == Path(named.blob_path).name]
            models = [model for node in NODES for model in on(node)]
            assert len([model for model in models if model.pk == named.pk]) == len(alike)
        assert not ModelCopy.objects.exclude(node__in=NODES).exists()

    def _check_scanned(self, node: str) -> None:
        """A node that has been scanned has what lies on its disk, once, and nothing else."""
        number, models = self.has[node], on(node)
        assert len(models) == (number is not None)
        for model in models:
            assert number is not None
            assert model.size_bytes == _size(number)
            assert Path(model.blob_path).name == _blob(number)
            assert Path(model.file_path).is_relative_to(self.nodes.cache(node))
            assert Path(os.path.realpath(model.file_path)) == Path(model.blob_path)

    def _present(self) -> dict[int, set[str]]:
        """Return by model the nodes that are known to have it."""
        nodes: dict[int, set[str]] = {}
        for node in NODES:
            for model in on(node):
                if model.root is not None:
                    nodes.setdefault(model.pk, set()).add(node)
        return nodes

    def _decide(self, rows: set[int]) -> None:
        """Decide of new models, and see that what was decided of others has stayed."""
        for row in DiscoveredModel.objects.all():
            told = (row.model_id, row.tier_override, row.notes, row.port)
            if row.pk not in self.decided:
                DiscoveredModel.objects.filter(pk=row.pk).update(
                    tier_override="powerful", notes=f"of {row.pk}"
                )
                told = (row.model_id, "powerful", f"of {row.pk}", row.port)
            assert self.decided.setdefault(row.pk, told) == told
        self.decided = {pk: told for pk, told in self.decided.items() if pk in rows}


def _size(number: int) -> int:
    return len(content(number))


def _blob(number: int) -> str:
    return hashlib.sha256(content(number)).hexdigest()


@pytest.fixture
def alone(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings.MAGI_RUN_DIR = tmp_path / "run"
    settings.MODEL_SCAN_PATH = []
    return tmp_path


@pytest.mark.django_db
@hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
@given(steps=steps)
@example(steps=[(GIVE, "a", 1), (SCAN, "a", None), (GIVE, "b", 1), (FORGET, "a", None)])
def test_each_node_has_what_lies_on_its_disk(
    alone: Path,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, str, int | None]],
) -> None:
    with transaction.atomic():
        world = World(tmp_path_factory.mktemp("world"))
        for step in steps:
            world.do(*step)
        world.settle()
        transaction.set_rollback(True)


@pytest.fixture
def nodes(alone: Path, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """Nodes of which each is a machine of its own: their scans do not wait for each other."""
    monkeypatch.setattr(registry, "node_lock", lambda *_args, **_options: nullcontext())
    return Nodes(alone)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("numbers", [(1, 1, 1), (1, 2, 3), (2, 3, 2)])
def test_nodes_that_are_scanned_at_once_lose_nothing_and_have_nothing_twice(
    nodes: Nodes, numbers: tuple[int, ...]
) -> None:
    has = dict(zip(NODES, numbers, strict=True))
    for node, number in has.items():
        nodes.give(node, number)
        add_root(node, str(nodes.cache(node)), kind=HUGGINGFACE)

    for _ in range(3):  # at first all is new, then all has changed, then nothing
        at_once([partial(registry.rescan, node) for node in NODES])

        for node, number in has.items():
            (model,) = on(node)
            assert Path(model.blob_path).name == _blob(number)
        ids = list(DiscoveredModel.objects.values_list("model_id", flat=True))
        assert len(ids) == len(set(numbers))
        for node, number in has.items():
            nodes.give(node, number)


@pytest.mark.django_db(transaction=True)
def test_different_models_that_are_found_at_once_get_ids_of_their_own(nodes: Nodes) -> None:
    for node in NODES:
        add_root(node, str(nodes.cache(node)), kind=HUGGINGFACE)
        for number in range(40):
            add_to_cache(nodes.cache(node), f"{node}/repo{number}", "abc", NAME, content(1))

    reports = at_once([partial(registry.rescan, node) for node in NODES])

    assert [len(report.added) for report in reports] == [40, 40, 40]
    assert DiscoveredModel.objects.filter(is_missing=False).count() == 120


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", ["comes", "goes"])
def test_a_home_that_loses_its_files_while_its_copies_are_scanned(
    nodes: Nodes, what: str
) -> None:
    """Whoever comes first: the model is where files are, and where it was not it is not."""
    for node in NODES:
        nodes.give(node, None if node == "c" and what == "comes" else 1)
        nodes.scan(node)
    nodes.give("a", None)
    nodes.give("c", 1 if what == "comes" else None)

    at_once([partial(registry.rescan, node) for node in NODES])

    model = DiscoveredModel.objects.get()
    expected = {"b", "c"} if what == "comes" else {"b"}
    assert not model.is_missing
    assert set(nodes_of(model)) == expected
    assert {node for node in NODES if on(node)} == expected
