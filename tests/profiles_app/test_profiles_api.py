"""The profiles' calls of the HTTP contract, JSON and YAML."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from profiles_app.models import Profile
from profiles_app.services import get_profile, make_active, save_yaml
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db

LIST = "/api/models/profiles"
NEW: dict[str, Any] = {
    "name": "My Custom Profile",
    "description": "Mine",
    "enabled_models": ["small_fast"],
    "tier_config": [
        {"name": "fast", "max_score": 5.0, "expected_time_seconds": 2},
        {"name": "powerful", "max_score": None, "expected_time_seconds": 15},
    ],
    "two_stage": {"enabled": True, "stage1_tier": "fast"},
    "load_balancing": {"enabled": False},
}


@pytest.fixture(autouse=True)
def _folder(settings: Settings, tmp_path: Path) -> None:
    settings.MAGI_PROFILES_DIR = tmp_path


def put(client: Client, slug: str, body: Any, **options: Any) -> Any:
    return client.put(f"{LIST}/{slug}", body, content_type="application/json", **options)


def post(client: Client, body: Any) -> Any:
    return client.post(LIST, body, content_type="application/json")


def test_a_profile_is_made_and_listed_by_its_file_stem(client: Client) -> None:
    response = post(client, NEW)

    assert response.status_code == 201
    assert response.json() == {
        "message": "Profile 'My Custom Profile' created successfully",
        "name": "my-custom-profile",
    }
    assert client.get(LIST).json() == ["my-custom-profile"]


def test_a_profile_has_the_contracts_shape_with_every_default(client: Client) -> None:
    post(client, NEW)

    body = client.get(f"{LIST}/my-custom-profile").json()

    assert body["enabled_models"] == ["small_fast"]
    assert body["tier_config"][1] == {
        "name": "powerful",
        "max_score": None,
        "expected_time_seconds": 15.0,
        "description": "",
    }
    assert body["two_stage"] == {
        "enabled": True,
        "stage1_tier": "fast",
        "stage2_tier": "powerful",
        "stage1_max_tokens": 500,
    }
    assert body["load_balancing"] == {
        "enabled": False,
        "strategy": "round_robin",
        "health_check_interval": 30,
    }
    assert body["routing"] == {
        "cold_wait_seconds": 30,
        "classifier": "auto",
        "classifier_model": "",
    }
    assert body["members"] == [
        {
            "model_id": "small_fast",
            "tier": None,
            "replicas": 1,
            "aliases": [],
            "nodes": [],
            "run_settings": {},
        }
    ]
    assert (body["version"], body["is_active"], body["file_state"]) == (1, False, "no file")


def test_what_get_gives_put_takes(client: Client) -> None:
    post(client, NEW)
    body = client.get(f"{LIST}/my-custom-profile").json()

    response = put(client, "my-custom-profile", body)

    assert response.status_code == 200
    assert response.json() == body


def test_a_version_that_is_not_the_newest_any_more_is_refused(client: Client) -> None:
    post(client, NEW)
    body = client.get(f"{LIST}/my-custom-profile").json()
    put(client, "my-custom-profile", {**body, "description": "first"})

    response = put(client, "my-custom-profile", {**body, "description": "second"})

    assert response.status_code == 409
    assert "changed meanwhile" in response.json()["detail"]
    assert get_profile("my-custom-profile").description == "first"


def test_what_a_member_is_beside_its_id_follows_the_id(client: Client) -> None:
    post(client, NEW)
    members = [{"model_id": "b", "replicas": 2}, {"model_id": "a", "tier": "fast"}]

    body = put(
        client,
        "my-custom-profile",
        {"name": "x", "enabled_models": ["a", "b", "c"], "members": members},
    ).json()

    assert body["enabled_models"] == ["a", "b", "c"]
    assert [member["replicas"] for member in body["members"]] == [1, 2, 1]
    assert body["members"][0]["tier"] == "fast"


def test_a_patch_changes_what_it_names_and_nothing_else(client: Client) -> None:
    post(client, NEW)

    response = client.patch(
        f"{LIST}/my-custom-profile",
        {"two_stage": {"stage1_max_tokens": 50}},
        content_type="application/json",
    )

    assert response.json()["two_stage"] == {
        "enabled": True,
        "stage1_tier": "fast",
        "stage2_tier": "powerful",
        "stage1_max_tokens": 50,
    }
    assert response.json()["description"] == "Mine"


@pytest.mark.parametrize("no_limit", ["null", '"inf"', '".inf"'])
def test_no_limit_is_null_and_is_taken_in_three_spellings(
    client: Client, no_limit: str
) -> None:
    raw = f'{{"name": "a", "tier_config": [{{"name": "fast", "max_score": {no_limit}}}]}}'

    assert post(client, raw).status_code == 201

    assert client.get(f"{LIST}/a").json()["tier_config"][0]["max_score"] is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param({**NEW, "two_stage": {"stage1_tier": "x"}}, "stage1_tier", id="a tier"),
        pytest.param({**NEW, "name": ""}, "name", id="no name"),
        pytest.param({**NEW, "name": "../../etc/passwd"}, "name", id="a path"),
        pytest.param({**NEW, "name": 300 * "a"}, "name", id="a long name"),
        pytest.param({**NEW, "colour": "red"}, "colour", id="an unknown key"),
        pytest.param({**NEW, "extends": "nobody"}, "nobody", id="no such parent"),
        pytest.param({**NEW, "enabled_models": "x"}, "enabled_models", id="no list"),
        pytest.param({**NEW, "queue": {"limit": True}}, "queue.limit", id="a truth value"),
        pytest.param({**NEW, "run_settings": {"parallel": 0}}, "parallel", id="a setting"),
        pytest.param({**NEW, "members": [{"model_id": 3}]}, "", id="members"),
        pytest.param([], "JSON object", id="a list"),
        pytest.param("{", "", id="no JSON"),
        pytest.param('{"name": "a", "queue": {"limit": NaN}}', "", id="NaN"),
    ],
)
def test_what_is_no_profile_is_refused_by_the_field(
    client: Client, body: Any, words: str
) -> None:
    response = post(client, body)

    if response.status_code == 201:  # members that say nothing are left out
        assert "members" in body
        return
    assert response.status_code == 400
    assert words in response.json()["detail"]
    assert not Profile.objects.exists()


def test_a_name_that_is_taken_is_a_conflict_whatever_its_case(client: Client) -> None:
    post(client, NEW)

    response = post(client, {**NEW, "name": "MY custom PROFILE"})

    assert response.status_code == 409


def test_yaml_goes_out_and_comes_in(client: Client) -> None:
    text = "# mine\nname: A\nqueue: {limit: 7}  # few\n"

    made = client.post(LIST, text, content_type="application/yaml")
    assert made.status_code == 201
    for url, headers in (
        (f"{LIST}/a?format=yaml", {}),
        (f"{LIST}/a", {"Accept": "application/yaml"}),
    ):
        response = client.get(url, headers=headers)
        assert response["Content-Type"] == "application/yaml; charset=utf-8"
        assert response.content.decode() == text

    changed = client.put(f"{LIST}/a", text.replace("7", "8"), content_type="application/yaml")
    assert changed.status_code == 200
    assert get_profile("a").queue_limit == 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x [1]\nb: *x\n", "line"),
        ("name: A\n\tqueue: 1\n", "line 2"),
        ("name: A\nqueue: {limit: -1}\n", "line 2: queue.limit"),
        ("name: A\nname: B\n", "line 2"),
        ("x" * 300_000, "at most"),
        (b"\xff\xfe", "UTF-8"),
        ("enabled_models: []\n", "name"),
    ],
)
def test_yaml_that_is_no_profile_is_refused_with_its_line(
    client: Client, text: str | bytes, words: str
) -> None:
    response = client.post(LIST, text, content_type="application/yaml")

    assert response.status_code == 400
    assert words in response.json()["detail"]
    assert not Profile.objects.exists()


def test_the_active_profile_is_told_and_not_deleted(client: Client) -> None:
    make_active(save_yaml("name: A\n"))
    save_yaml("name: B\n")

    assert client.get("/api/models/profile").json()["slug"] == "a"
    refused = client.delete(f"{LIST}/a")
    assert refused.status_code == 409
    assert "Activate another one" in refused.json()["detail"]
    assert client.delete(f"{LIST}/b").status_code == 204
    assert client.get(LIST).json() == ["a"]


def test_a_profile_that_is_not_there_is_named_with_those_that_are(client: Client) -> None:
    save_yaml("name: A\n")

    for url in (f"{LIST}/x", f"{LIST}/x/validate"):
        response = client.get(url)
        assert response.status_code == 404
        assert response.json() == {"detail": "Profile 'x' not found. Available: a"}
    assert put(client, "x", NEW).status_code == 404


def test_without_an_active_profile_the_answer_says_so(client: Client) -> None:
    assert client.get("/api/models/profile").status_code == 404


def test_validation_answers_as_the_contract_has_it(
    client: Client, make_model: MakeModel
) -> None:
    make_model("here")
    save_yaml("name: A\nenabled_models: [here, hare]\ntier_config: [{name: powerful}]\n")

    body = client.get(f"{LIST}/a/validate").json()

    assert body["valid"] is False
    assert body["missing_models"] == ["hare"]
    assert body["tier_mismatches"] == ["here"]
    assert any("here is fast" in warning for warning in body["warnings"])
    assert "Near it: here" in body["errors"][0]
