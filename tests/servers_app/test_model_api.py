"""GET /api/models/ID: one model, what it may be called, and one that is not there."""

from typing import Any

import pytest
from django.test import Client
from django.urls import get_resolver
from django.urls.resolvers import URLPattern, URLResolver
from django.utils import timezone

from models_app.models import ScanRoot
from models_app.naming import RESERVED_IDS
from servers_app.models import ServerState, Wanted
from servers_app.registry_schema import FullModelSerializer
from tests.conftest import MakeModel, MakeProfile, MakeServer

pytestmark = pytest.mark.django_db

REGISTRY = "/api/models/registry"


def test_a_model_is_shown_with_all_its_metadata(
    client: Client, make_model: MakeModel, make_server: MakeServer
) -> None:
    root = ScanRoot.objects.create(node="box", path="/models", last_scan_at=timezone.now())
    model = make_model("m", root=root, metadata={"license": "mit"}, notes="slow", variant="v")
    make_server(model, wanted=Wanted.RUNNING, state=ServerState.READY, port=8085)

    body = client.get("/api/models/m").json()

    assert body.keys() == set(FullModelSerializer.Meta.fields)
    assert body.items() >= client.get(REGISTRY).json()["models"]["m"].items()
    assert (body["node"], body["scan_root"]) == ("box", "/models")
    assert (body["metadata"], body["notes"], body["variant"]) == (
        {"license": "mit"},
        "slow",
        "v",
    )
    assert body["discovered_at"].endswith(("Z", "+00:00"))
    assert body["servers"] == [{"node": "local", "replica": 0, "state": "ready", "port": 8085}]


def test_a_model_without_a_scan_root_is_shown_too(
    client: Client, make_model: MakeModel
) -> None:
    make_model("m")

    body = client.get("/api/models/m").json()

    assert (body["node"], body["scan_root"], body["servers"]) == (None, None, [])


@pytest.mark.parametrize(
    "model_id", ["qwen3_4p0b_q4km_fast", "Qwen 3.5:latest", "ünïcode", "a+b", "a%b", "-"]
)
def test_an_id_of_whatever_characters_is_found(
    client: Client, make_model: MakeModel, model_id: str
) -> None:
    make_model(model_id)

    body = client.get(f"/api/models/{model_id.replace('%', '%25')}").json()

    assert body["model_id"] == model_id


def test_a_model_that_is_not_here_is_told_with_those_that_are(
    client: Client, make_model: MakeModel
) -> None:
    nothing = client.get("/api/models/m")
    make_model("here")
    something = client.get("/api/models/hare")

    assert (nothing.status_code, something.status_code) == (404, 404)
    assert nothing.json()["detail"] == "Model not found: m. No model is registered yet."
    assert something.json()["detail"] == "Model not found: hare. Available: here."


def test_among_many_models_those_like_it_are_named(
    client: Client, make_model: MakeModel
) -> None:
    for number in range(12):
        make_model(f"qwen3_{number}p0b_q4km_fast")
    make_model("llama")

    like_some = client.get("/api/models/qwen3_7p0b_q4km").json()["detail"]
    like_none = client.get("/api/models/zzz").json()["detail"]

    assert "qwen3_7p0b_q4km_fast" in like_some
    assert "llama" not in like_some
    assert like_none == "Model not found: zzz. Nothing among 13 is like it."


def _words_after_models(patterns: list[URLPattern | URLResolver], prefix: str) -> set[str]:
    words: set[str] = set()
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            words |= _words_after_models(pattern.url_patterns, route)
        elif route.startswith("api/models/"):
            words.add(route.removeprefix("api/models/").split("/")[0])
    return words


def test_no_model_is_given_an_id_that_a_path_has_a_meaning_for() -> None:
    words = _words_after_models(get_resolver().url_patterns, "")

    assert words - {"<str:model_id>"} <= RESERVED_IDS


@pytest.mark.parametrize("word", ["registry", "servers", "profiles"])
def test_a_path_that_is_a_list_stays_one_whatever_a_model_is_called(
    client: Client, make_model: MakeModel, word: str
) -> None:
    make_model(word)  # by hand: no scan gives it such an id

    body: Any = client.get(f"/api/models/{word}").json()

    assert "file_path" not in body
    assert word in client.get(REGISTRY).json()["models"]


@pytest.mark.parametrize("word", ["tier", "thinking", "enabled"])
def test_what_is_called_like_a_call_about_a_model_is_no_model(
    client: Client, make_profile: MakeProfile, word: str
) -> None:
    make_profile(word)

    assert client.get(f"/api/models/profiles/{word}").json()["slug"] == word
    assert client.delete(f"/api/models/profiles/{word}").status_code == 204
