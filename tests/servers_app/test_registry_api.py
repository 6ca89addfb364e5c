"""The calls that list models: filters, order, pages, tiers."""

from itertools import product

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from models_app.models import DiscoveredModel, ModelKind, Tier
from models_app.rules import EFFECTIVE_TIER
from models_app.serializers import ModelSerializer, models_as_json
from servers_app.models import ServerState
from servers_app.registry_schema import RegisteredModelSerializer
from tests.conftest import MakeModel, MakeProfile, MakeServer

pytestmark = pytest.mark.django_db

REGISTRY = "/api/models/registry"
GUIDE = {"models", "scan_path", "last_scan", "port_range", "tier_thresholds"}


@pytest.fixture
def models(make_model: MakeModel, make_profile: MakeProfile) -> None:
    """Five models that differ in all that can be asked for; three have one size."""
    make_model("a", size_params=4.0, port=8081, family="Qwen")
    make_model("b", assigned_tier="powerful", tier_override="fast", size_params=30.0)
    make_model("c", assigned_tier="balanced", kind="vision", is_missing=True, family="gemma")
    make_model("d", assigned_tier="", kind="embedding", size_params=None, family="bge")
    make_model("e", assigned_tier="powerful", repo_id="org/Special-GGUF", filename="X.gguf")
    make_profile("active", "a", "e", is_active=True)
    make_profile("another", "b")


def shown(client: Client, query: str) -> list[str]:
    response = client.get(f"{REGISTRY}?{query}")
    assert response.status_code == 200, response.content
    return list(response.json()["models"])


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("", "abcde", id="all"),
        pytest.param("tier=fast", "ab", id="the effective tier"),
        pytest.param("tier=powerful", "e", id="not the one that was assigned"),
        pytest.param("kind=embedding", "d", id="kind"),
        pytest.param("family=qwen", "abe", id="family, whatever its case"),
        pytest.param("family=nobodys", "", id="a family that is not here"),
        pytest.param("enabled=true", "ae", id="enabled in the active profile"),
        pytest.param("enabled=false", "bcd", id="not enabled in it"),
        pytest.param("missing=True", "c", id="missing"),
        pytest.param("missing=false", "abde", id="not missing"),
        pytest.param("q=special", "e", id="a word of the repo"),
        pytest.param("q=x.gguf+ORG", "e", id="words that stand in different places"),
        pytest.param("q=x.gguf+absent", "", id="a word that stands nowhere"),
        pytest.param("q=%25", "", id="no pattern of the database"),
        pytest.param("q=%00", "", id="what no name has, and no database takes"),
        pytest.param("q=+", "abcde", id="no word"),
        pytest.param("tier=fast&enabled=false&family=qwen", "b", id="all at once"),
        pytest.param("format=json", "abcde", id="with what DRF reads itself"),
        pytest.param("ordering=-model_id", "edcba", id="falling"),
        pytest.param("ordering=size_params", "acebd", id="null last"),
        pytest.param("ordering=-size_params", "baced", id="null last, falling, too"),
        pytest.param("ordering=tier", "abced", id="from fast to powerful, and none"),
    ],
)
def test_a_list_shows_what_was_asked_for(client: Client, query: str, expected: str) -> None:
    assert shown(client, query) == list(expected)


@pytest.mark.usefixtures("models")
def test_filters_leave_the_guides_shape_as_it_is(client: Client) -> None:
    assert client.get(REGISTRY).json().keys() == GUIDE
    assert client.get(f"{REGISTRY}?tier=fast").json().keys() == GUIDE


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("tier=huge", "tier=huge: it is one of: fast, balanced, powerful."),
        ("tier=", "tier=: it is one of: fast, balanced, powerful."),
        ("kind=image", "kind=image: it is one of: text, vision, embedding, reranker."),
        ("enabled=perhaps", "enabled=perhaps: it is true or false."),
        ("missing=1", "missing=1: it is true or false."),
        ("page=0", "page=0: it is a number from 1 to 1000000000."),
        ("page=two", "page=two: it is a number from 1 to 1000000000."),
        ("page_size=1001", "page_size=1001: it is a number from 1 to 1000."),
        ("page=1&page=2", "page: it is given more than once."),
        (
            "colour=red",
            "colour: there is no such parameter. Accepted: enabled, family, kind, missing, "
            "node, ordering, page, page_size, q, tier.",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(
    client: Client, query: str, detail: str
) -> None:
    response = client.get(f"{REGISTRY}?{query}")

    assert response.status_code == 400
    assert response.json() == {"detail": detail}


def test_an_order_that_is_none_is_refused_with_those_there_are(client: Client) -> None:
    response = client.get(f"{REGISTRY}?ordering=password")

    assert response.status_code == 400
    assert "ordering=password: it is one of: model_id, -model_id," in response.json()["detail"]


# -- pages


@pytest.mark.usefixtures("models")
def test_pages_follow_each_other_and_keep_what_was_asked(client: Client) -> None:
    first = client.get(f"{REGISTRY}?page_size=2&ordering=-model_id&missing=false").json()
    second = client.get(first["next"]).json()

    assert first.keys() == GUIDE | {"count", "next", "previous"}
    assert (list(first["models"]), first["count"], first["previous"]) == (["e", "d"], 4, None)
    assert (list(second["models"]), second["next"]) == (["b", "a"], None)
    assert client.get(second["previous"]).json() == first


@pytest.mark.usefixtures("models")
def test_a_page_has_a_hundred_models_unless_another_number_is_asked_for(
    client: Client, make_model: MakeModel
) -> None:
    for number in range(100):
        make_model(f"f{number}")

    body = client.get(f"{REGISTRY}?page=2").json()

    assert (len(body["models"]), body["count"]) == (5, 105)


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("page=4&page_size=2", "page=4: there are 3."),
        ("page=1000000000", "page=1000000000: there is 1 page."),
    ],
)
def test_a_page_that_is_not_there_is_not_found(client: Client, query: str, detail: str) -> None:
    response = client.get(f"{REGISTRY}?{query}")

    assert response.status_code == 404
    assert response.json() == {"detail": detail}


def test_the_first_page_of_nothing_is_empty(client: Client) -> None:
    body = client.get(f"{REGISTRY}?page=1").json()

    assert (body["models"], body["count"], body["next"]) == ({}, 0, None)


@pytest.mark.parametrize(
    ("path", "queries"),
    [
        (REGISTRY, 7),
        (f"{REGISTRY}?tier=fast&enabled=false&q=m&ordering=tier", 7),
        (f"{REGISTRY}?page=1&page_size=20", 8),
        ("/api/models/tiers/fast", 4),
    ],
)
def test_a_list_costs_the_same_however_many_there_are(
    client: Client,
    make_model: MakeModel,
    make_server: MakeServer,
    django_assert_max_num_queries: DjangoAssertNumQueries,
    path: str,
    queries: int,
) -> None:
    for number in range(30):
        make_server(make_model(f"m{number}"))

    with django_assert_max_num_queries(queries):
        assert client.get(path).status_code == 200


# -- what a model is shown as


def test_the_quick_way_to_json_gives_what_the_serializer_does(make_model: MakeModel) -> None:
    for number, (kind, override, version) in enumerate(
        product(ModelKind.values, ["", "powerful"], ["", "3.5"])
    ):
        make_model(f"m{number}", kind=kind, tier_override=override, version=version)
    models = DiscoveredModel.objects.all()

    expected = ModelSerializer(models, many=True).data

    assert models_as_json(models) == [dict(model) for model in expected]


@pytest.mark.parametrize("kind", ModelKind.values)
@pytest.mark.parametrize("override", ["", *Tier.values])
@pytest.mark.parametrize("assigned", ["", "fast"])
def test_a_query_knows_the_effective_tier(
    make_model: MakeModel, kind: str, override: str, assigned: str
) -> None:
    model = make_model(kind=kind, tier_override=override, assigned_tier=assigned)

    row = DiscoveredModel.objects.values(effective=EFFECTIVE_TIER).get()

    assert row["effective"] == model.tier


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], "stopped"),
        (["failed"], "failed"),
        (["stopped", "ready", "failed"], "ready"),
        (["failed", "starting"], "starting"),
        (["stopped", "failed"], "failed"),
    ],
)
def test_of_several_servers_the_one_nearest_to_ready_says_the_state(
    client: Client,
    make_model: MakeModel,
    make_server: MakeServer,
    states: list[str],
    expected: str,
) -> None:
    model = make_model("m")
    for replica, state in enumerate(states):
        make_server(model, replica=replica, state=state, port=8080 + replica)

    assert client.get(REGISTRY).json()["models"]["m"]["state"] == expected


def test_every_state_of_a_server_is_one_of_a_model(
    client: Client, make_model: MakeModel, make_server: MakeServer
) -> None:
    for number, state in enumerate(ServerState.values):
        make_server(make_model(f"m{number}"), state=state, port=8080 + number)

    models = client.get(REGISTRY).json()["models"]

    assert [model["state"] for model in models.values()] == ServerState.values


# -- the models of a tier


@pytest.mark.usefixtures("models")
def test_the_models_of_a_tier_are_a_list_by_the_effective_tier(client: Client) -> None:
    body = client.get("/api/models/tiers/fast").json()

    assert [model["model_id"] for model in body] == ["a", "b"]
    assert body[0].keys() == set(RegisteredModelSerializer.Meta.fields)
    assert (body[0]["enabled"], body[1]["enabled"]) == (True, False)


@pytest.mark.usefixtures("models")
def test_the_models_of_a_tier_are_filtered_and_ordered_too(client: Client) -> None:
    body = client.get("/api/models/tiers/fast?enabled=false").json()
    falling = client.get("/api/models/tiers/fast?ordering=-model_id").json()

    assert [model["model_id"] for model in body] == ["b"]
    assert [model["model_id"] for model in falling] == ["b", "a"]


@pytest.mark.parametrize("tier", ["x", "Fast", "fast ", "two-stage", "%00", "tier"])
def test_a_tier_that_there_is_not_is_refused_in_the_guides_words(
    client: Client, tier: str
) -> None:
    response = client.get(f"/api/models/tiers/{tier}")

    said = "\0" if tier == "%00" else tier
    assert response.status_code == 400
    assert response.json() == {
        "detail": f"Invalid tier: {said}. Must be one of: fast, balanced, powerful"
    }


def test_the_models_of_a_tier_have_no_pages_and_say_so(client: Client) -> None:
    response = client.get("/api/models/tiers/fast?page=1")

    assert response.status_code == 400
    assert "page: there is no such parameter" in response.json()["detail"]
