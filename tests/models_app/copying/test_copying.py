"""Copies between nodes: what comes, where it comes to lie, and what becomes of it."""

import hashlib
import json
from pathlib import Path

import pytest
from pytest_django import Settings

from models_app import registry
from models_app.copies import as_on, nodes_of
from models_app.copy_models import ModelCopy
from models_app.download_models import Download, DownloadState
from models_app.errors import UnsupportedDownloadError
from models_app.models import DiscoveredModel, ScanRoot
from profiles_app.models import ProfileMember
from servers_app.models import Server
from tests.models_app.copying.nodes import TwoNodes
from tests.models_app.hubs import COMMIT, Content, make_model
from tests.models_app.scans import PROJECTOR, add_model, add_to_cache, set_main

REPO = "org/Qwen3-4B-GGUF"
NAME = "Qwen3-4B-Q4_K_M.gguf"


def in_cache(
    nodes: TwoNodes, name: str = NAME, content: Content | None = None, node: str = "a"
) -> Content:
    """Have a file in the cache of a node, as the hub's library lays it out."""
    made = content or make_model(nodes.folder / "made", name)
    raw = made.path.read_bytes()
    add_to_cache(nodes.cache(node), REPO, COMMIT, name, raw, blob=made.sha256)
    set_main(nodes.cache(node), REPO, COMMIT)
    return made


def elsewhere(nodes: TwoNodes, root: Path, kind: str, node: str) -> DiscoveredModel:
    """Scan a root of another node than a; return the model that has its home there."""
    ScanRoot.objects.create(node=node, path=str(root), kind=kind)
    registry.rescan(node)
    return DiscoveredModel.objects.get(root__node=node)


def in_store(store: Path, content: Content) -> Path:
    raw = content.path.read_bytes()
    return add_model(store, "registry.ollama.ai/library/qwen3:4b", raw)


def test_a_model_of_a_cache_comes_into_the_other_nodes_cache(nodes: TwoNodes) -> None:
    made = in_cache(nodes)
    model = nodes.scanned(nodes.cache("a"), "huggingface")

    done = nodes.copied(model)

    assert (done.state, done.error) == (DownloadState.FINISHED, "")
    repo = nodes.cache("b") / "models--org--Qwen3-4B-GGUF"
    link = repo / "snapshots" / COMMIT / NAME
    assert link.resolve() == repo / "blobs" / made.sha256
    assert link.read_bytes() == made.path.read_bytes()
    assert (repo / "refs/main").read_text() == COMMIT
    assert (done.model, done.from_node, done.commit) == (model, "a", COMMIT)
    assert nodes_of(model) == ("a", "b")
    assert as_on(model, "b").file_path == str(link)
    assert DiscoveredModel.objects.count() == ModelCopy.objects.count() == 1


def test_what_was_copied_is_enabled_and_started_by_nobody(nodes: TwoNodes) -> None:
    in_cache(nodes)

    nodes.copied(nodes.scanned(nodes.cache("a"), "huggingface"))

    assert not ProfileMember.objects.exists()
    assert not Server.objects.exists()


def test_a_plain_file_comes_into_a_folder_of_magis_own(
    nodes: TwoNodes, settings: Settings
) -> None:
    made = make_model(nodes.files("a"), "My-Finetune-7B-Q8_0.gguf")
    model = nodes.scanned(nodes.files("a"))

    done = nodes.copied(model)

    assert (done.state, done.error) == (DownloadState.FINISHED, "")
    there = settings.MAGI_COPY_DIR / model.model_id / made.path.name
    assert there.read_bytes() == made.path.read_bytes()
    assert [path.name for path in there.parent.iterdir()] == [there.name]
    assert as_on(model, "b").file_path == str(there)
    root = ScanRoot.objects.get(node="b", path=str(settings.MAGI_COPY_DIR))
    assert (root.kind, root.from_settings) == ("directory", False)
    assert DiscoveredModel.objects.count() == 1


def test_scans_leave_a_plain_copy_what_it_is(nodes: TwoNodes) -> None:
    make_model(nodes.files("a"), "My-Finetune-7B-Q8_0.gguf")
    model = nodes.scanned(nodes.files("a"))
    nodes.copied(model)
    there = as_on(model, "b").file_path

    report = registry.rescan("b")
    ModelCopy.objects.filter(model=model).update(file_signature={})  # of another version
    Path(there).touch()
    registry.rescan("b")

    assert (report.added, report.unchanged) == ([], [model.model_id])
    assert nodes_of(model) == ("a", "b")
    assert as_on(model, "b").file_path == there
    assert DiscoveredModel.objects.count() == 1


def test_a_plain_copy_whose_content_is_replaced_is_a_model_of_its_own(nodes: TwoNodes) -> None:
    make_model(nodes.files("a"), "My-Finetune-7B-Q8_0.gguf")
    model = nodes.scanned(nodes.files("a"))
    nodes.copied(model)
    there = Path(as_on(model, "b").file_path)

    make_model(there.parent, there.name, megabytes=0.3)
    registry.rescan("b")

    assert nodes_of(model) == ("a",)
    assert DiscoveredModel.objects.get(root__node="b").file_path == str(there)


def test_a_copy_is_left_when_the_first_files_go(nodes: TwoNodes) -> None:
    made = make_model(nodes.files("a"), "My-Finetune-7B-Q8_0.gguf")
    model = nodes.scanned(nodes.files("a"))
    nodes.copied(model)
    there = as_on(model, "b").file_path

    made.path.unlink()
    registry.rescan("a")
    registry.rescan("b")

    model = DiscoveredModel.objects.get()
    assert (model.is_missing, model.file_path) == (False, there)
    assert nodes_of(model) == ("b",)


def test_all_shards_and_the_projector_come(nodes: TwoNodes, settings: Settings) -> None:
    split = {"split.count": 2, "general.architecture": "gemma3"}
    names = [f"gemma-3-4b-it-Q8_0-{number:05}-of-00002.gguf" for number in (1, 2)]
    for number, name in enumerate(names):
        make_model(nodes.files("a"), name, metadata=split | {"split.no": number})
    make_model(nodes.files("a"), "mmproj-F16.gguf", metadata=PROJECTOR)
    model = nodes.scanned(nodes.files("a"))

    done = nodes.copied(model)

    assert (done.state, done.error) == (DownloadState.FINISHED, "")
    assert [file["name"] for file in done.files] == [*names, "mmproj-F16.gguf"]
    folder = settings.MAGI_COPY_DIR / model.model_id
    there = as_on(model, "b")
    assert (there.shard_count, there.problem) == (2, "")
    assert there.projector_path == str(folder / "mmproj-F16.gguf")
    assert sorted(path.name for path in folder.iterdir()) == [*names, "mmproj-F16.gguf"]


def test_all_shards_and_the_projector_of_a_repo_come(nodes: TwoNodes) -> None:
    split = {"split.count": 2, "general.architecture": "gemma3"}
    made = nodes.folder / "made"
    for number in (1, 2):
        name = f"gemma-3-4b-it-Q8_0-{number:05}-of-00002.gguf"
        content = make_model(made, name, metadata=split | {"split.no": number - 1})
        in_cache(nodes, f"Q8_0/{name}", content)
    in_cache(nodes, "mmproj-F16.gguf", make_model(made, "mmproj.gguf", metadata=PROJECTOR))
    model = nodes.scanned(nodes.cache("a"), "huggingface")

    done = nodes.copied(model)

    assert (done.state, done.error) == (DownloadState.FINISHED, "")
    there = as_on(model, "b")
    assert Path(there.projector_path).name == "mmproj-F16.gguf"
    assert nodes_of(model) == ("a", "b")


def test_a_model_of_ollamas_comes_into_ollamas_store(nodes: TwoNodes) -> None:
    store = nodes.folder / "a" / "ollama"
    layers = []
    for kind, raw in (
        ("model", make_model(nodes.folder / "made", "m.gguf").path.read_bytes()),
        ("template", b"{{ .Prompt }}"),
    ):
        digest = hashlib.sha256(raw).hexdigest()
        (store / "blobs").mkdir(parents=True, exist_ok=True)
        (store / "blobs" / f"sha256-{digest}").write_bytes(raw)
        media = f"application/vnd.ollama.image.{kind}"
        layers.append({"mediaType": media, "digest": f"sha256:{digest}", "size": len(raw)})
    manifest = store / "manifests/registry.ollama.ai/library/qwen3/4b"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    model = nodes.scanned(store, "ollama")

    done = nodes.copied(model)

    assert (done.state, done.error) == (DownloadState.FINISHED, "")
    there = nodes.folder / "b" / "ollama/manifests/registry.ollama.ai/library/qwen3/4b"
    assert there.read_bytes() == manifest.read_bytes()
    assert nodes_of(model) == ("a", "b")
    assert as_on(model, "b").identity == "ollama:registry.ollama.ai/library/qwen3:4b"


def test_a_copy_can_be_copied_on(nodes: TwoNodes) -> None:
    make_model(nodes.files("a"), "My-Finetune-7B-Q8_0.gguf")
    model = nodes.scanned(nodes.files("a"))
    nodes.copied(model)
    copy = ModelCopy.objects.get()
    ModelCopy.objects.filter(pk=copy.pk).update(node="c")
    ScanRoot.objects.filter(node="b").update(node="c")

    done = nodes.copied(model, from_node="c")

    assert (done.state, done.from_node, done.error) == (DownloadState.FINISHED, "c", "")
    assert nodes_of(model) == ("a", "b", "c")


@pytest.mark.parametrize("part", [0.3, 0.7])
def test_a_copy_that_is_cut_goes_on_at_its_byte(nodes: TwoNodes, part: float) -> None:
    made = make_model(nodes.files("a"), NAME, megabytes=3)
    model = nodes.scanned(nodes.files("a"))
    cut = int(made.size * part)
    nodes.wire.trouble.cuts.append(cut)

    done = nodes.copied(model)

    assert done.state == DownloadState.FINISHED
    assert nodes.wire.asked == [("/0", 0), ("/0", cut)]
    assert Content.of(Path(as_on(model, "b").file_path)).sha256 == made.sha256


def test_a_node_that_has_half_of_it_from_a_hub_goes_on_from_there(nodes: TwoNodes) -> None:
    made = in_cache(nodes)
    model = nodes.scanned(nodes.cache("a"), "huggingface")
    blobs = nodes.cache("b") / "models--org--Qwen3-4B-GGUF/blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{made.sha256}.incomplete").write_bytes(made.path.read_bytes()[:100_000])

    done = nodes.copied(model)

    assert done.state == DownloadState.FINISHED
    assert nodes.wire.asked == [("/0", 100_000)]


def test_the_same_copy_asked_for_twice_is_one_row(nodes: TwoNodes) -> None:
    make_model(nodes.files("a"), NAME)
    model = nodes.scanned(nodes.files("a"))

    first, again = nodes.wanted(model), nodes.wanted(model)

    assert first.pk == again.pk
    assert Download.objects.count() == 1


def test_a_model_that_shares_its_name_with_another_nodes_is_copied_as_what_it_is(
    nodes: TwoNodes,
) -> None:
    in_cache(nodes, content=make_model(nodes.folder / "made", "other.gguf", 0.3), node="c")
    other = elsewhere(nodes, nodes.cache("c"), "huggingface", "c")
    made = in_cache(nodes)
    model = nodes.scanned(nodes.cache("a"), "huggingface")

    done = nodes.copied(model)

    assert model.identity == f"{other.identity}@a"
    assert (done.state, done.error) == (DownloadState.FINISHED, "")
    assert Content.of(Path(as_on(model, "b").file_path)).sha256 == made.sha256
    assert (nodes_of(model), nodes_of(other)) == (("a", "b"), ("c",))


def test_an_ollama_model_that_shares_its_name_is_copied_as_what_it_is(nodes: TwoNodes) -> None:
    store = nodes.folder / "c" / "ollama"
    in_store(store, make_model(nodes.folder / "made", "other.gguf", 0.3))
    other = elsewhere(nodes, store, "ollama", "c")
    in_store(nodes.folder / "a" / "ollama", make_model(nodes.folder / "made", "m.gguf"))
    model = nodes.scanned(nodes.folder / "a" / "ollama", "ollama")

    done = nodes.copied(model)

    assert model.identity == f"{other.identity}@a"
    assert (done.state, done.error) == (DownloadState.FINISHED, "")
    assert (nodes_of(model), nodes_of(other)) == (("a", "b"), ("c",))


def test_a_copy_takes_nobodys_place(nodes: TwoNodes) -> None:
    in_cache(nodes, content=make_model(nodes.folder / "made", "other.gguf", 0.3), node="b")
    other = elsewhere(nodes, nodes.cache("b"), "huggingface", "b")
    in_cache(nodes)
    model = nodes.scanned(nodes.cache("a"), "huggingface")

    with pytest.raises(UnsupportedDownloadError, match=f"same name, {other.model_id}. Delete"):
        nodes.wanted(model)

    assert not Download.objects.exists()
