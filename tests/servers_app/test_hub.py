"""Looking for models at a hub, and whether what a repo has would fit this machine."""

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from models_app import registry
from models_app.hubsearch.quants import quants_of
from models_app.hubsearch.searching import search_hub
from models_app.models import DiscoveredModel
from servers_app.hub_quants import quants_here
from tests.models_app.hubs import COMMIT, Hub, make_model
from tests.models_app.hubs.fixtures import hub, node_folders
from tests.models_app.scans import PROJECTOR, add_to_cache, set_main

__all__ = ["hub", "node_folders"]

pytestmark = pytest.mark.django_db(transaction=True)

REPO = "org/Tiny-1B-GGUF"
SEARCH, QUANTS = "/api/models/hub/search", "/api/models/hub/quants"


@pytest.fixture
def repo(hub: Hub, node_folders: Path) -> Hub:
    """A repo with two quantizations, one of them in shards, one in part, and a projector."""
    for name in ("Tiny-1B-Q4_K_M.gguf", "Tiny-1B-IQ2_XS-00001-of-00002.gguf"):
        hub.add(REPO, make_model(node_folders / "given", name))
    for number in (1, 2):
        name = f"Tiny-1B-Q8_0-0000{number}-of-00002.gguf"
        hub.add(REPO, make_model(node_folders / "given", name, 0.1), f"Q8_0/{name}")
    name = "mmproj-Tiny-1B-F16.gguf"
    hub.add(REPO, make_model(node_folders / "given", name, 0.05, PROJECTOR))
    return hub


def test_a_search_asks_for_gguf_repos_by_words_and_downloads(repo: Hub) -> None:
    (found,) = search_hub("tiny  1b", limit=7)

    query = parse_qs(urlsplit(repo.asked[-1].path).query)
    assert (query["search"], query["filter"]) == (["tiny 1b"], ["gguf"])
    assert (query["sort"], query["limit"]) == (["downloads"], ["7"])
    assert (found.repo, found.downloads, found.likes, found.is_gated) == (REPO, 1000, 10, False)
    assert found.parameter_count is None  # the hub did not say


def test_the_quantizations_have_sizes_shards_and_the_projector(repo: Hub) -> None:
    quants = {quant.quantization: quant for quant in quants_of(REPO).quants}

    files = repo.repos[REPO]
    projector = files["mmproj-Tiny-1B-F16.gguf"].size
    eight = [one.size for path, one in files.items() if path.startswith("Q8_0/")]
    assert quants["Q4_K_M"].size_bytes == files["Tiny-1B-Q4_K_M.gguf"].size + projector
    assert quants["Q8_0"].size_bytes == sum(eight) + projector
    assert (quants["Q8_0"].shard_count, quants["Q8_0"].projector_bytes) == (2, projector)
    assert quants["Q8_0"].reference == f"{REPO}:Q8_0"
    assert [name for name, quant in quants.items() if quant.is_usual] == ["Q4_K_M"]
    assert [name for name, quant in quants.items() if not quant.is_whole] == ["IQ2_XS"]


def test_two_models_of_one_quantization_are_told_apart(hub: Hub, node_folders: Path) -> None:
    for name in ("Tiny-1B-Q8_0.gguf", "Tiny-1B-Instruct-Q8_0.gguf"):
        hub.add(REPO, make_model(node_folders / "given", name))

    references = {quant.files[0]: quant.reference for quant in quants_of(REPO).quants}

    assert references == {
        "Tiny-1B-Q8_0.gguf": f"{REPO}:Q8_0",
        "Tiny-1B-Instruct-Q8_0.gguf": f"{REPO}:Tiny-1B-Instruct-Q8_0.gguf",
    }


def test_a_small_model_fits_now_and_one_of_a_terabyte_nowhere(
    repo: Hub, settings: Settings
) -> None:
    settings.MAGI_NODE = "local"
    repo.lie(REPO, "Tiny-1B-Q4_K_M.gguf", size=10**12)

    found = quants_here(REPO)

    fits = {each.quant.quantization: each for each in found.quants}
    assert fits["Q8_0"].verdict is not None
    assert fits["Q8_0"].verdict.word in ("fits now", "needs others stopped")
    assert fits["Q4_K_M"].verdict is not None
    assert fits["Q4_K_M"].verdict.word == "too large"
    assert (fits["Q8_0"].fits_disk, fits["Q4_K_M"].fits_disk) == (True, False)
    assert found.room.startswith("local has ")


def test_what_a_node_that_is_away_has_nobody_knows(repo: Hub) -> None:
    found = quants_here(REPO, node="elsewhere")

    assert {(each.verdict, each.fits_disk) for each in found.quants} == {(None, None)}
    assert found.room == "What node elsewhere has is not known: it is away."


def test_what_is_here_byte_by_byte_is_said(
    repo: Hub, node_folders: Path, settings: Settings
) -> None:
    name = "Tiny-1B-Q4_K_M.gguf"
    content = repo.repos[REPO][name]
    cache = node_folders / "hf" / "hub"
    add_to_cache(cache, REPO, COMMIT, name, content.path.read_bytes(), blob=content.sha256)
    set_main(cache, REPO, COMMIT)
    settings.MODEL_SCAN_PATH = [cache]
    registry.rescan(settings.MAGI_NODE)

    here = {each.quant.quantization: each.model for each in quants_here(REPO).quants}

    assert here == {
        "IQ2_XS": None,
        "Q4_K_M": DiscoveredModel.objects.get(),
        "Q8_0": None,
    }


def test_the_api_searches_and_lists(client: Client, repo: Hub) -> None:
    found = client.get(SEARCH, {"q": "tiny", "limit": "5"})
    listed = client.get(QUANTS, {"repo": REPO})

    assert found.status_code == listed.status_code == 200
    assert [each["repo"] for each in found.json()["repos"]] == [REPO]
    assert listed.json()["commit"] == COMMIT
    assert listed.json()["quants"][-1]["reference"] == f"{REPO}:Q8_0"


@pytest.mark.parametrize(
    ("path", "query", "status", "says"),
    [
        pytest.param(SEARCH, {"limit": "0"}, 400, "1 to 100", id="limit"),
        pytest.param(SEARCH, {"q": "x" * 201}, 400, "q=", id="too long"),
        pytest.param(SEARCH, {"sort": "age"}, 400, "downloads, likes", id="sort"),
        pytest.param(SEARCH, {"words": "x"}, 400, "Accepted: limit, q, sort", id="unknown"),
        pytest.param(QUANTS, {}, 400, "repo: name one", id="no repo"),
        pytest.param(QUANTS, {"repo": "../etc"}, 400, "is no model to fetch", id="path"),
        pytest.param(QUANTS, {"repo": f"{REPO}:Q8_0"}, 400, "one quantization", id="quant"),
        pytest.param(QUANTS, {"repo": "org/none"}, 404, "has no org/none", id="gone"),
        pytest.param(
            QUANTS, {"repo": REPO, "revision": "v9"}, 404, "no revision v9", id="revision"
        ),
    ],
)
def test_what_cannot_be_looked_for_is_refused_with_what_can(
    client: Client, repo: Hub, path: str, query: dict[str, str], status: int, says: str
) -> None:
    response = client.get(path, query)

    assert response.status_code == status
    assert says in response.json()["detail"]


@pytest.mark.parametrize(("answer", "status"), [(503, 503), (418, 409)], ids=["away", "no hub"])
def test_a_hub_in_trouble_is_no_fault_of_ours(
    client: Client, repo: Hub, answer: int, status: int
) -> None:
    repo.api_answers = [(answer, {})]

    response = client.get(QUANTS, {"repo": REPO})

    assert response.status_code == status
    assert repo.url in response.json()["detail"]


def test_nothing_is_searched_offline(
    client: Client, repo: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    response = client.get(SEARCH, {"q": "tiny"})

    assert response.status_code == 503
    assert "HF_HUB_OFFLINE" in response.json()["detail"]
    assert repo.asked == []


def test_the_command_lists_what_can_be_pulled(
    repo: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("hub", "quants", REPO)
    table = capsys.readouterr().out
    call_command("hub", "search", "tiny")
    found = capsys.readouterr().out
    call_command("hub", "quants", REPO, json=True)
    listed = json.loads(capsys.readouterr().out)

    assert f"{REPO}:Q8_0" in table
    assert "the usual one" in table
    assert "shards are missing at the hub" in table
    assert REPO in found
    assert [quant["quantization"] for quant in listed["quants"]] == ["IQ2_XS", "Q4_K_M", "Q8_0"]


def test_the_command_says_what_is_wrong(repo: Hub) -> None:
    with pytest.raises(CommandError, match="has no org/none"):
        call_command("hub", "quants", "org/none")
    with pytest.raises(CommandError, match="from 1 to 100"):
        call_command("hub", "search", limit=0)
