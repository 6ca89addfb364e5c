"""A model's files against those of its hub, which is a real server on a loopback socket."""

import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from models_app import registry as models_registry
from models_app.downloads.references import OLLAMA, parse_reference
from models_app.errors import GatedError, OfflineError, UnavailableError
from models_app.hub_check import UNKNOWN, check_model
from models_app.integrity import verify_model
from models_app.models import DiscoveredModel
from models_app.version_models import HubState, ModelVersion
from models_app.version_page import pull_reference
from tests.models_app.hubs import COMMIT, Content, Hub, OllamaRegistry, make_model
from tests.models_app.hubs.fixtures import hub, node_folders, registry
from tests.models_app.scans import add_model, add_to_cache, set_main

__all__ = ["hub", "node_folders", "registry"]

pytestmark = pytest.mark.django_db(transaction=True)

REPO = "org/Tiny-1B-GGUF"
FILE = "Tiny-1B-Q8_0.gguf"
NEWER = "c" * 40


@pytest.fixture
def given(node_folders: Path) -> Content:
    """What the hub gives away, and what lies in the cache."""
    return make_model(node_folders / "given", FILE)


def in_cache(content: Content, folder: Path, settings: Settings) -> DiscoveredModel:
    """Register a file as huggingface_hub would have left it."""
    cache = folder / "hf" / "hub"
    add_to_cache(cache, REPO, COMMIT, FILE, content.path.read_bytes(), blob=content.sha256)
    set_main(cache, REPO, COMMIT)
    return scanned(cache, settings)


def scanned(folder: Path, settings: Settings) -> DiscoveredModel:
    settings.MODEL_SCAN_PATH = [folder]
    models_registry.rescan("local")
    return DiscoveredModel.objects.get()


def written() -> tuple[str, str]:
    version = ModelVersion.objects.get(is_current=True)
    return version.hub_state, version.hub_commit


def test_a_file_that_is_the_hubs_is_the_same_and_that_is_written_down(
    hub: Hub, given: Content, node_folders: Path, settings: Settings
) -> None:
    hub.add(REPO, given)
    model = in_cache(given, node_folders, settings)

    checked = check_model(model)

    assert (checked.state, checked.revision, checked.hub_commit) == ("same", COMMIT, COMMIT)
    assert written() == (HubState.SAME, COMMIT)
    assert hub.bodies() == []  # nothing was fetched


def test_bytes_that_were_found_to_be_others_are_not_the_hubs_until_they_are_fetched_again(
    hub: Hub, given: Content, node_folders: Path, settings: Settings
) -> None:
    hub.add(REPO, given)
    model = in_cache(given, node_folders, settings)
    blob = Path(model.file_path).resolve()
    blob.write_bytes(blob.read_bytes()[:-3] + b"bad")
    verify_model(model)

    checked = check_model(model)

    assert (checked.state, checked.pull) == (HubState.OTHER, f"{REPO}:Q8_0")
    assert f"manage.py pull {REPO}:Q8_0" in checked.words

    call_command("pull", f"{REPO}:Q8_0")

    version = ModelVersion.objects.get()
    assert (version.is_sound, version.hub_state) == (True, "")
    assert check_model(model).state == HubState.SAME


def test_a_repo_that_has_gone_on_without_touching_the_file_is_the_same(
    hub: Hub, given: Content, node_folders: Path, settings: Settings
) -> None:
    hub.add(REPO, given)
    hub.commit = NEWER

    checked = check_model(in_cache(given, node_folders, settings))

    assert (checked.state, checked.hub_commit) == (HubState.SAME, NEWER)
    assert NEWER[:12] in checked.words


def test_another_file_at_the_hub_is_another_version_and_says_how_to_pull_it(
    hub: Hub, given: Content, node_folders: Path, settings: Settings
) -> None:
    hub.add(REPO, make_model(node_folders / "newer", FILE, metadata={"general.version": "2"}))
    hub.commit = NEWER

    checked = check_model(in_cache(given, node_folders, settings))

    assert (checked.state, checked.pull) == (HubState.OTHER, f"{REPO}:Q8_0")
    assert f"manage.py pull {REPO}:Q8_0" in checked.words
    assert written() == (HubState.OTHER, NEWER)


def test_a_file_that_the_repo_has_no_longer_is_gone(
    hub: Hub, given: Content, node_folders: Path, settings: Settings
) -> None:
    hub.add(REPO, given, "Tiny-1B-Q4_0.gguf")

    checked = check_model(in_cache(given, node_folders, settings))

    assert checked.state == HubState.GONE
    assert f"manage.py hub quants {REPO}" in checked.words


def test_a_repo_that_the_hub_has_no_longer_is_gone(
    hub: Hub, given: Content, node_folders: Path, settings: Settings
) -> None:
    checked = check_model(in_cache(given, node_folders, settings))

    assert checked.state == HubState.GONE
    assert written() == (HubState.GONE, "")


def test_a_plain_file_is_nobodys_and_the_answer_says_what_would_help(
    given: Content, settings: Settings
) -> None:
    checked = check_model(scanned(given.path.parent, settings))

    assert checked.state == UNKNOWN
    assert "manage.py pull org/repo:QUANT" in checked.words
    assert written() == ("", "")


def test_a_plain_file_of_a_known_repo_is_compared_by_size_until_its_bytes_are_read(
    hub: Hub, node_folders: Path, settings: Settings
) -> None:
    content = make_model(node_folders / "lm" / "org" / "Tiny-1B-GGUF", FILE)
    hub.add(REPO, content)
    model = scanned(node_folders / "lm", settings)

    before = check_model(model)
    verify_model(model)
    after = check_model(model)

    assert (before.state, after.state) == (UNKNOWN, HubState.SAME)
    assert f"manage.py models verify {model.model_id}" in before.words


def test_a_plain_file_of_another_size_is_another_version(
    hub: Hub, given: Content, node_folders: Path, settings: Settings
) -> None:
    make_model(node_folders / "lm" / "org" / "Tiny-1B-GGUF", FILE, megabytes=0.1)
    hub.add(REPO, given)

    assert check_model(scanned(node_folders / "lm", settings)).state == HubState.OTHER


def test_an_ollama_model_is_compared_by_the_digest_of_its_manifest(
    registry: OllamaRegistry, given: Content, node_folders: Path, settings: Settings
) -> None:
    store = node_folders / "ollama"
    add_model(store, "registry.ollama.ai/library/tiny:1b", given.path.read_bytes())
    registry.add("library/tiny:1b", node_folders / "layers", given)
    model = scanned(store, settings)

    same = check_model(model)
    newer = make_model(node_folders / "newer", "newer.gguf")
    registry.add("library/tiny:1b", node_folders / "layers", newer)
    other = check_model(model)

    assert (same.state, other.state) == (HubState.SAME, HubState.OTHER)
    assert other.pull == "registry.ollama.ai/library/tiny:1b"
    assert registry.bodies() == []


def test_a_blob_that_ollama_fetched_from_the_hub_is_compared_with_the_repos_hashes(
    hub: Hub, given: Content, node_folders: Path, settings: Settings
) -> None:
    store = node_folders / "ollama"
    add_model(store, f"hf.co/{REPO}:Q8_0", given.path.read_bytes())
    hub.add(REPO, given)

    assert check_model(scanned(store, settings)).state == HubState.SAME


def test_where_the_hub_tells_no_hash_nobody_says_that_it_has_another(
    hub: Hub, given: Content, node_folders: Path, settings: Settings
) -> None:
    store = node_folders / "ollama"
    add_model(store, f"hf.co/{REPO}:Q8_0", given.path.read_bytes())
    hub.add(REPO, given)
    hub.tells_details = False

    assert check_model(scanned(store, settings)).state == UNKNOWN


def test_a_name_that_another_node_has_other_files_of_is_compared_too(
    registry: OllamaRegistry, given: Content, node_folders: Path, settings: Settings
) -> None:
    store = node_folders / "ollama"
    add_model(store, "registry.ollama.ai/someone/tiny:1b", given.path.read_bytes())
    registry.add("someone/tiny:1b", node_folders / "layers", given)
    model = scanned(store, settings)
    model.identity += "@local"  # as it is called where another node was first

    assert check_model(model).state == HubState.SAME
    assert parse_reference(pull_reference(model)).source == OLLAMA


def test_a_gated_repo_is_told_with_what_to_do_and_nothing_is_written(
    hub: Hub, given: Content, node_folders: Path, settings: Settings
) -> None:
    hub.add(REPO, given)
    hub.gated, hub.hides_gated = {REPO}, True

    with pytest.raises(GatedError, match="HF_TOKEN"):
        check_model(in_cache(given, node_folders, settings))

    assert written() == ("", "")


def test_offline_no_hub_is_asked(
    hub: Hub,
    given: Content,
    node_folders: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(OfflineError, match="HF_HUB_OFFLINE"):
        check_model(in_cache(given, node_folders, settings))

    assert hub.asked == []


def test_a_hub_that_is_away_is_asked_once(
    hub: Hub, given: Content, node_folders: Path, settings: Settings
) -> None:
    hub.add(REPO, given)
    hub.api_answers = [(503, {}), (503, {})]

    with pytest.raises(UnavailableError, match="503"):
        check_model(in_cache(given, node_folders, settings))

    assert len(hub.asked) == 1


def test_the_command_tells_of_each_model_and_fails_where_no_hub_could_be_asked(
    hub: Hub,
    given: Content,
    node_folders: Path,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub.add(REPO, given)
    model = in_cache(given, node_folders, settings)

    call_command("models", "check", json=True)
    (found,) = json.loads(capsys.readouterr().out)
    hub.api_answers = [(503, {})]
    with pytest.raises(CommandError, match="could not be asked about 1 of 1"):
        call_command("models", "check", model.model_id)

    assert (found["model_id"], found["state"]) == (model.model_id, "same")
    assert f"{model.model_id}: unavailable" in capsys.readouterr().out
