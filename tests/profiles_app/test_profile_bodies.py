"""What is no profile in JSON is refused by name; what YAML people write is understood."""

import json
from typing import Any

import pytest
from django.test import Client

from profiles_app.services import get_profile

pytestmark = pytest.mark.django_db

LIST = "/api/models/profiles"


def post(client: Client, body: object) -> Any:
    return client.post(LIST, json.dumps(body), content_type="application/json")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"name": 5}, "name: "),
        ({"description": 5}, "description: "),
        ({"description": None}, "description: "),
        ({"extends": 5}, "extends: "),
        ({"preset": 5}, "preset: "),
        ({"engine": 5}, "engine: "),
        ({"engine": "/bin/sh"}, "engine: "),
        ({"enabled_models": [5]}, "enabled_models[0]: "),
        ({"enabled_models": "small"}, "enabled_models: "),
        ({"tier_config": [None]}, "tier_config[0]: "),
        ({"tier_config": [{"name": "fast", "max_score": "3"}]}, "tier_config[0].max_score: "),
        ({"two_stage": {"enabled": "yes"}}, "two_stage.enabled: "),
        ({"two_stage": {"enabled": 1}}, "two_stage.enabled: "),
        ({"queue": {"limit": "64"}}, "queue.limit: "),
        ({"queue": {"limit": True}}, "queue.limit: "),
        ({"queue": {"limits": 64}}, "queue.limits: "),
        ({"members": {}}, "members: "),
        ({"members": None}, "members: "),
        ({"members": [0]}, "members[0]: "),
        ({"members": [{"tier": "fast"}]}, "members[0].model_id: "),
        ({"members": [{"model_id": "a", "tier": "best"}]}, "members[0].tier: "),
        ({"version": "1"}, "version: "),
        ({"version": True}, "version: "),
    ],
)
def test_a_wrong_type_is_refused_with_its_place(
    client: Client, more: dict[str, Any], said: str
) -> None:
    answer = post(client, {"name": "Mine", **more})

    assert answer.status_code == 400
    assert said in answer.json()["detail"]
    assert client.get(LIST).json() == []


@pytest.mark.parametrize("body", [[], "a", 1, None])
def test_what_is_no_object_is_refused(client: Client, body: object) -> None:
    assert post(client, body).status_code == 400


def test_members_alone_say_which_models_are_enabled(client: Client) -> None:
    post(client, {"name": "Mine", "members": ["a", {"model_id": "b", "replicas": 2}]})

    answer = client.get(f"{LIST}/mine").json()

    assert answer["enabled_models"] == ["a", "b"]
    assert [member["replicas"] for member in answer["members"]] == [1, 2]


@pytest.mark.parametrize("limit", [None, "inf", ".inf"])
def test_no_limit_is_said_in_three_ways(client: Client, limit: str | None) -> None:
    rule = {"name": "fast", "max_score": limit}
    post(client, {"name": "Mine", "tier_config": [rule]})

    assert client.get(f"{LIST}/mine").json()["tier_config"][0]["max_score"] is None


def test_yaml_needs_no_quotes_around_a_name_of_digits(client: Client) -> None:
    text = "name: 2024\ndescription: 1.5\nenabled_models: [7]\n"

    answer = client.post(LIST, text, content_type="application/yaml")

    assert answer.status_code == 201
    profile = get_profile("2024")
    assert (profile.name, profile.description) == ("2024", "1.5")


def test_an_error_is_json_also_where_yaml_was_asked_for(client: Client) -> None:
    answer = client.get(f"{LIST}/gone", headers={"accept": "application/yaml"})

    assert answer.status_code == 404
    assert "not found" in answer.json()["detail"]
