"""PUT …/tier, …/thinking and …/enabled: what a person decides about one model."""

from functools import partial
from typing import Any

import pytest
from django.test import Client

from models_app.models import DiscoveredModel, ModelKind
from models_app.rules import save_overrides
from profiles_app.models import Profile
from profiles_app.services import (
    get_profile,
    make_active,
    require_active_profile,
    save_yaml,
)
from servers_app import services
from servers_app.models import Server, Wanted
from tests.at_once import at_once
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db

NAMED = {"family": "qwen", "version": "3", "size_text": "4p0b"}


def put(client: Client, model_id: str, what: str, value: Any) -> Any:
    return client.put(
        f"/api/models/{model_id}/{what}", {what: value}, content_type="application/json"
    )


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is published of models, instead of over Redis."""
    told: list[dict[str, Any]] = []
    monkeypatch.setattr("models_app.rules.publish", lambda _kind, data: told.append(data))
    return told


# -- the tier


def test_a_tier_is_overridden_and_given_back(client: Client, make_model: MakeModel) -> None:
    make_model("m", assigned_tier="fast")

    overridden = put(client, "m", "tier", "powerful")
    shown = client.get("/api/models/m").json()
    given_back = put(client, "m", "tier", None)

    assert (overridden.status_code, given_back.status_code) == (200, 200)
    assert overridden.json() == {
        "message": "Tier updated for m",
        "model_id": "m",
        "tier": "powerful",
        "override": True,
    }
    assert (shown["tier"], shown["tier_override"]) == ("powerful", "powerful")
    assert given_back.json() == {
        "message": "Tier override taken off for m",
        "model_id": "m",
        "tier": "fast",
        "override": False,
    }
    assert client.get("/api/models/m").json()["tier_override"] is None


@pytest.mark.parametrize("kind", [ModelKind.EMBEDDING, ModelKind.RERANKER])
def test_a_kind_that_has_no_tier_is_given_none(
    client: Client, make_model: MakeModel, kind: str
) -> None:
    make_model("m", kind=kind, assigned_tier="")

    refused = put(client, "m", "tier", "fast")
    taken_off = put(client, "m", "tier", None)

    assert refused.status_code == 409
    assert f"its kind is {kind}" in refused.json()["detail"]
    assert (taken_off.status_code, taken_off.json()["tier"]) == (200, None)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("huge", "huge"),
        ("", ""),
        ("Fast", "Fast"),
        (3, "3"),
        (True, "True"),
        (["fast"], "['fast']"),
        ("\ud800", "?"),
        ("\0", "\0"),
        ("x" * 5000, "x" * 100),
    ],
)
def test_a_tier_that_is_none_is_refused_in_the_guides_words(
    client: Client, make_model: MakeModel, value: Any, shown: str
) -> None:
    make_model("m")

    response = put(client, "m", "tier", value)

    assert response.status_code == 400
    assert response.json() == {
        "detail": f"Invalid tier: {shown}. Must be one of: fast, balanced, powerful"
    }


# -- whether it thinks


def test_a_word_that_it_thinks_makes_a_model_powerful_and_is_taken_back(
    client: Client, make_model: MakeModel
) -> None:
    make_model("m", size_params=4.0, **NAMED)

    overridden = put(client, "m", "thinking", True)
    shown = client.get("/api/models/m").json()
    given_back = put(client, "m", "thinking", None)

    assert overridden.json() == {
        "message": "Thinking capability updated for m",
        "model_id": "m",
        "thinking": True,
        "override": True,
    }
    assert (shown["tier"], shown["thinking_override"]) == ("powerful", True)
    assert "(Reasoning)" in shown["display_name"]
    assert given_back.json() == {
        "message": "Thinking capability override taken off for m",
        "model_id": "m",
        "thinking": False,
        "override": False,
    }
    again = client.get("/api/models/m").json()
    assert (again["tier"], again["thinking_override"]) == ("fast", None)
    assert "(Reasoning)" not in again["display_name"]


def test_a_word_that_it_does_not_think_overrides_its_name(
    client: Client, make_model: MakeModel
) -> None:
    make_model("m", is_thinking_model=True, assigned_tier="powerful", size_params=4.0)

    response = put(client, "m", "thinking", False)

    assert (response.json()["thinking"], response.json()["override"]) == (False, True)
    assert client.get("/api/models/m").json()["tier"] == "fast"


def test_a_tier_of_a_persons_choice_stays_when_it_is_said_to_think(
    client: Client, make_model: MakeModel
) -> None:
    make_model("m", tier_override="balanced")

    put(client, "m", "thinking", True)

    assert client.get("/api/models/m").json()["tier"] == "balanced"


@pytest.mark.parametrize("value", ["true", 1, 0, "", [], {"a": 1}])
def test_only_a_truth_value_says_whether_it_thinks(
    client: Client, make_model: MakeModel, value: Any
) -> None:
    make_model("m")

    response = put(client, "m", "thinking", value)

    assert response.status_code == 400
    assert response.json() == {"detail": "thinking: it is true, false or null."}


# -- both


@pytest.mark.parametrize(
    ("what", "detail"),
    [
        ("tier", "tier: it is one of fast, balanced, powerful, or null."),
        ("thinking", "thinking: it is true, false or null."),
        ("enabled", "enabled: it is true or false."),
    ],
)
@pytest.mark.parametrize("body", ["{}", "[]", "null", '"fast"', "3", '[{"tier": "fast"}]'])
def test_a_body_that_does_not_say_it_takes_no_override_off(
    client: Client, make_model: MakeModel, what: str, detail: str, body: str
) -> None:
    make_model("m", tier_override="balanced", thinking_override=True)

    response = client.put(f"/api/models/m/{what}", body, content_type="application/json")

    assert response.status_code == 400
    assert response.json() == {"detail": detail}
    model = DiscoveredModel.objects.get()
    assert (model.tier_override, model.thinking_override) == ("balanced", True)


@pytest.mark.parametrize(("what", "value"), [("tier", "fast"), ("thinking", None)])
def test_a_model_that_is_not_here_is_told_with_those_that_are(
    client: Client, make_model: MakeModel, what: str, value: Any
) -> None:
    make_model("here")

    response = put(client, "hare", what, value)

    assert response.status_code == 404
    assert response.json() == {"detail": "Model not found: hare. Available: here."}


@pytest.mark.django_db(transaction=True)
def test_whoever_listens_is_told(
    client: Client, make_model: MakeModel, events: list[dict[str, Any]]
) -> None:
    make_model("m", size_params=4.0)

    put(client, "m", "tier", "balanced")
    put(client, "m", "thinking", True)
    put(client, "m", "tier", "huge")

    assert events == [
        {"model_id": "m", "tier": "balanced", "thinking": False},
        {"model_id": "m", "tier": "balanced", "thinking": True},
    ]


# -- several at once


def test_what_was_read_before_another_wrote_takes_nothing_back(make_model: MakeModel) -> None:
    make_model("m", size_params=4.0, assigned_tier="fast")
    one, other = DiscoveredModel.objects.get(), DiscoveredModel.objects.get()
    one.tier_override, other.thinking_override = "balanced", True

    save_overrides([one], columns=["tier_override"])
    save_overrides([other], columns=["thinking_override"])

    model = DiscoveredModel.objects.get()
    assert (model.tier_override, model.thinking_override) == ("balanced", True)
    assert model.assigned_tier == "powerful"


@pytest.mark.django_db(transaction=True)
def test_who_writes_the_tier_and_who_writes_thinking_lose_nothing(
    client: Client, make_model: MakeModel
) -> None:
    make_model("m", size_params=4.0, **NAMED)
    rounds = [("powerful", True), ("fast", None), ("balanced", False), (None, True)] * 3

    for tier, thinking in rounds:
        answers = at_once(
            [
                partial(put, Client(), "m", "tier", tier),
                partial(put, Client(), "m", "thinking", thinking),
            ]
        )

        assert [answer.status_code for answer in answers] == [200, 200]
        shown = client.get("/api/models/m").json()
        assert (shown["tier_override"], shown["thinking_override"]) == (tier, thinking)
        assert shown["assigned_tier"] == ("powerful" if thinking else "fast")


@pytest.mark.django_db(transaction=True)
def test_models_of_one_name_are_told_apart_whoever_is_renamed_at_once(
    client: Client, make_model: MakeModel
) -> None:
    names = [f"m{number}" for number in range(4)]
    for name in names:
        make_model(name, repo_id=f"org/{name}", **NAMED)

    for thinking in (True, None, True):
        puts = [partial(put, Client(), name, "thinking", thinking) for name in names]
        assert [answer.status_code for answer in at_once(puts)] == [200] * 4

    word = "QWEN3 4.0B (Reasoning) Q4_K_M"
    models = client.get("/api/models/registry").json()["models"].values()
    assert [model["display_name"] for model in models] == [f"{word} [org/{n}]" for n in names]


# -- enabled


@pytest.fixture
def profile(make_model: MakeModel) -> Profile:
    """The active one, which starts nothing before a request comes; another beside it."""
    for number in range(6):
        make_model(f"m{number}")
    save_yaml("name: Other\nlifecycle: {start: request}\n")
    profile = save_yaml("name: Mine\nlifecycle: {start: request}\n")
    make_active(profile)
    return profile


def members(slug: str) -> set[str]:
    return set(get_profile(slug).members.values_list("model_id", flat=True))


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("profile")
def test_those_who_enable_models_at_once_enable_all_of_them() -> None:
    names = [f"m{number}" for number in range(6)]

    enabled = at_once([partial(put, Client(), name, "enabled", True) for name in names])
    disabled = at_once([partial(put, Client(), name, "enabled", False) for name in names[:3]])

    assert [answer.status_code for answer in (*enabled, *disabled)] == [200] * 9
    assert members("mine") == set(names[3:])
    assert Server.objects.filter(on_request=True).count() == 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("profile")
def test_of_two_who_enable_and_disable_a_model_one_comes_last(client: Client) -> None:
    for _ in range(3):
        answers = at_once(
            [
                partial(put, Client(), "m0", "enabled", True),
                partial(put, Client(), "m0", "enabled", False),
            ]
        )

        assert [answer.status_code for answer in answers] == [200, 200]
        is_member = "m0" in members("mine")
        assert client.get("/api/models/m0").json()["enabled"] is is_member
        assert Server.objects.filter(on_request=True).exists() is is_member


@pytest.mark.usefixtures("profile")
def test_a_model_is_enabled_in_the_profile_that_was_activated_meanwhile(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def and_then_another_is_activated() -> Profile:
        monkeypatch.setattr(services, "require_active_profile", require_active_profile)
        profile = require_active_profile()
        make_active(get_profile("other"))
        return profile

    monkeypatch.setattr(services, "require_active_profile", and_then_another_is_activated)

    assert put(client, "m0", "enabled", True).status_code == 200
    assert (members("mine"), members("other")) == (set(), {"m0"})


@pytest.mark.usefixtures("profile")
def test_enabling_twice_is_as_enabling_once(client: Client) -> None:
    first, second = (put(client, "m0", "enabled", True) for _ in range(2))

    assert (
        first.json()
        == second.json()
        == {
            "message": "Model m0 enabled",
            "model_id": "m0",
            "enabled": True,
        }
    )
    assert Server.objects.get().wanted == Wanted.STOPPED


@pytest.mark.usefixtures("profile")
def test_a_model_that_cannot_run_is_not_enabled(client: Client) -> None:
    DiscoveredModel.objects.filter(model_id="m0").update(is_missing=True)

    response = put(client, "m0", "enabled", True)

    assert response.status_code == 409
    assert response.json() == {"detail": "m0 cannot be started: its file is missing."}
    assert members("mine") == set()
