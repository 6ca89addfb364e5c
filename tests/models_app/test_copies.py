"""A model that several nodes have is one row: one node is its home, the others have copies."""

from pathlib import Path

import pytest
from pytest_django import Settings

from models_app.copies import as_on, home_of, model_at, nodes_of
from models_app.copy_models import ModelCopy
from models_app.errors import NotOnNodeError
from models_app.models import DiscoveredModel, ScanRoot
from models_app.versions import current_version
from tests.models_app.ggufs import write_gguf
from tests.models_app.nodes import NAME, Nodes, copies, homes, on
from tests.models_app.scans import PROJECTOR, add_to_cache, complete_gguf

pytestmark = pytest.mark.django_db


@pytest.fixture
def nodes(settings: Settings, tmp_path: Path) -> Nodes:
    settings.MAGI_RUN_DIR = tmp_path / "run"
    settings.MODEL_SCAN_PATH = []
    return Nodes(tmp_path)


@pytest.fixture
def shared(nodes: Nodes) -> DiscoveredModel:
    """A model that a and b have; a is its home, and a person has decided of it."""
    for node in "ab":
        nodes.give(node, 1)
        nodes.scan(node)
    DiscoveredModel.objects.update(tier_override="powerful", notes="ours", port=8123)
    return DiscoveredModel.objects.select_related("root").get()


def again(model: DiscoveredModel) -> DiscoveredModel:
    return DiscoveredModel.objects.select_related("root").get(pk=model.pk)


def test_the_same_content_on_another_node_is_a_copy_of_the_model(
    nodes: Nodes, shared: DiscoveredModel
) -> None:
    assert homes() == {"": "a"}
    assert nodes_of(shared) == ("a", "b")
    there = as_on(shared, "b")
    assert Path(there.file_path).is_relative_to(nodes.cache("b"))
    assert Path(there.blob_path).is_file()
    assert there.root == ScanRoot.objects.get(node="b")
    assert Path(shared.file_path).is_relative_to(nodes.cache("a"))
    with pytest.raises(NotOnNodeError, match=f"{shared.model_id} is not on node c"):
        as_on(shared, "c")


def test_a_model_as_it_is_elsewhere_cannot_be_saved_over_its_row(
    shared: DiscoveredModel,
) -> None:
    there = as_on(shared, "b")

    with pytest.raises(RuntimeError, match="as it is on node b"):
        there.save()
    with pytest.raises(RuntimeError):
        there.save(update_fields=["file_path"])

    assert home_of(again(shared)) == "a"
    shared.save()


def test_a_scan_counts_copies_as_it_counts_models(nodes: Nodes) -> None:
    nodes.give("a", 1)
    nodes.give("b", 1)
    (model_id,) = nodes.scan("a").added

    assert nodes.scan("b").added == [model_id]
    report = nodes.scan("b")
    assert (report.unchanged, report.models_found) == ([model_id], 1)
    nodes.give("b", 1)  # written anew: the same content at another time
    assert nodes.scan("b").updated == [model_id]
    nodes.give("b", None)
    assert nodes.scan("b").missing == [model_id]
    assert nodes.scan("b").missing == []
    assert nodes.scan("a").unchanged == [model_id]


def test_an_unchanged_copy_is_not_opened_again(
    nodes: Nodes, shared: DiscoveredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: Path) -> None:
        pytest.fail("it was read")

    monkeypatch.setattr("models_app.readahead.read_gguf", fail)

    with monkeypatch.context() as patched:
        patched.setattr("models_app.registry.discover", fail)
        assert nodes.scan("b").unchanged == [shared.model_id]
    add_to_cache(nodes.cache("b"), "org/notes", "abc", "notes.txt", b"a shopping list")
    assert nodes.scan("b").unchanged == [shared.model_id]


def test_another_content_under_the_same_name_is_a_model_of_its_own_for_good(
    nodes: Nodes, shared: DiscoveredModel
) -> None:
    nodes.give("c", 2)

    (other,) = nodes.scan("c").added

    assert homes() == {"": "a", "@c": "c"}
    assert other != shared.model_id
    assert nodes.scan("c").unchanged == [other]
    nodes.give("c", 0)
    assert nodes.scan("c").updated == [other]
    nodes.give("c", None)
    assert nodes.scan("c").missing == [other]
    nodes.give("c", 2)
    assert nodes.scan("c").updated == [other]


def test_content_of_the_same_size_is_told_apart_by_what_its_blob_is_called(
    nodes: Nodes,
) -> None:
    nodes.give("a", 2)
    nodes.give("b", 3)

    nodes.scan("a")
    nodes.scan("b")

    assert homes() == {"": "a", "@b": "b"}


def test_what_a_home_loses_another_node_that_has_it_becomes_the_home_of(
    nodes: Nodes, shared: DiscoveredModel
) -> None:
    version = current_version(shared)
    nodes.give("a", None)

    report = nodes.scan("a")

    model = again(shared)
    assert report.missing == [shared.model_id]
    assert (homes(), copies()) == ({"": "b"}, set())
    assert (model.model_id, model.port, model.notes) == (shared.model_id, 8123, "ours")
    assert Path(model.file_path).is_relative_to(nodes.cache("b"))
    assert current_version(model) == version
    assert nodes.scan("b").unchanged == [shared.model_id]
    assert nodes.scan("a").missing == []

    nodes.give("a", 1)
    assert nodes.scan("a").added == [shared.model_id]
    assert (homes(), copies()) == ({"": "b"}, {("", "a")})


def test_a_missing_model_is_taken_over_by_the_node_that_has_it(nodes: Nodes) -> None:
    nodes.give("a", 1)
    nodes.scan("a")
    nodes.give("a", None)
    nodes.scan("a")
    nodes.give("b", 1)

    nodes.scan("b")

    assert homes() == {"": "b"}
    assert DiscoveredModel.objects.count() == 1


def test_another_content_does_not_take_over_a_missing_model(nodes: Nodes) -> None:
    nodes.give("a", 1)
    nodes.scan("a")
    nodes.give("a", None)
    nodes.scan("a")
    nodes.give("b", 2)

    nodes.scan("b")
    assert homes() == {"@b": "b"}
    nodes.give("a", 1)  # a disk that is mounted again
    nodes.scan("a")

    assert homes() == {"": "a", "@b": "b"}


@pytest.mark.parametrize("who", ["a", "b", "c"])
def test_a_model_whose_scan_root_was_removed_has_its_home_where_a_copy_is(
    nodes: Nodes, shared: DiscoveredModel, who: str
) -> None:
    nodes.scan(who)
    if who == "a":
        nodes.give("a", None)
    nodes.forget("a")

    nodes.scan(who)

    assert homes() == {"": "b"}
    assert again(shared).notes == "ours"


def test_a_copy_whose_content_is_not_that_of_the_home_any_more_is_none(
    nodes: Nodes, shared: DiscoveredModel
) -> None:
    nodes.give("a", 2)
    nodes.scan("a")
    assert nodes_of(again(shared)) == ("a",)

    (own,) = nodes.scan("b").added
    assert homes() == {"": "a", "@b": "b"}

    nodes.give("b", 2)  # and follows
    nodes.scan("b")
    assert (homes(), copies()) == ({"": "a"}, {("", "b")})
    assert DiscoveredModel.objects.get(model_id=own).is_missing


def test_a_node_that_was_ahead_has_a_copy_once_the_home_has_followed(
    nodes: Nodes, shared: DiscoveredModel
) -> None:
    nodes.give("b", 2)
    nodes.scan("b")
    nodes.give("c", 2)
    nodes.scan("c")
    assert (homes(), copies()) == ({"": "a", "@b": "b"}, {("@b", "c")})

    nodes.give("a", 2)
    nodes.scan("a")

    assert (homes(), copies()) == ({"": "a"}, {("", "b"), ("", "c")})
    assert nodes.scan("b").unchanged == nodes.scan("c").unchanged == [shared.model_id]


def test_prune_leaves_what_another_node_has(nodes: Nodes, shared: DiscoveredModel) -> None:
    nodes.give("a", None)
    nodes.give("b", 1)

    assert nodes.scan("a", prune=True).pruned == []
    DiscoveredModel.objects.update(is_missing=True)  # as if it were not known there
    ModelCopy.objects.create(model=shared, node="c", file_path="/c", blob_path="/c")
    assert nodes.scan("a", prune=True).pruned == []
    add_to_cache(nodes.cache("b"), "org/notes", "abc", "notes.txt", b"a shopping list")
    assert nodes.scan("b", prune=True).pruned == []

    assert homes() == {"": "b"}


def test_what_a_home_had_a_projector_for_is_read_again_where_there_is_none(
    nodes: Nodes,
) -> None:
    for node in "ab":
        nodes.give(node, 1)
    add_to_cache(
        nodes.cache("a"),
        "org/Qwen3-4B-GGUF",
        "c0ffee1",
        "mmproj.gguf",
        complete_gguf(PROJECTOR),
    )
    for node in "ab":
        nodes.scan(node)
    model = DiscoveredModel.objects.get()
    assert model.projector_path
    assert as_on(model, "b").projector_path == ""

    nodes.give("a", None)
    nodes.scan("a")
    nodes.scan("b")

    model.refresh_from_db()
    assert (home_of(model), model.kind, model.projector_path) == ("b", "text", "")


def test_a_file_says_which_model_a_node_has_in_it(
    nodes: Nodes, shared: DiscoveredModel
) -> None:
    for node in "ab":
        there = as_on(shared, node)
        assert model_at(node, there.file_path) == shared
        assert model_at(node, Path(there.blob_path)) == shared
    assert model_at("b", shared.file_path) is None


def test_a_copy_in_a_folder_of_another_name_stays_one(nodes: Nodes, tmp_path: Path) -> None:
    """As one has it that was copied from a plain folder, and compared byte by byte."""
    path = write_gguf(tmp_path / "models" / NAME)
    ScanRoot.objects.create(node="a", path=str(path.parent))
    there = tmp_path / "there" / NAME
    there.parent.mkdir()
    there.write_bytes(path.read_bytes())
    nodes.scan("a")
    nodes.scan("b")
    root = ScanRoot.objects.create(node="b", path=str(there.parent))
    model = DiscoveredModel.objects.get()
    ModelCopy.objects.create(
        model=model,
        node="b",
        root=root,
        file_path=str(there),
        blob_path=str(there),
        file_signature={},  # of another version of MAGI: it is read
    )

    assert nodes.scan("b").updated == [model.model_id]
    assert nodes.scan("b").unchanged == [model.model_id]
    path.unlink()
    nodes.scan("a")
    assert home_of(again(model)) == "b"
    assert nodes.scan("b").unchanged == [model.model_id]
    there.write_bytes(complete_gguf() + bytes(64))
    assert nodes.scan("b").updated == [model.model_id]
    assert DiscoveredModel.objects.count() == 1
    assert [found.file_path for found in on("b")] == [str(there)]
