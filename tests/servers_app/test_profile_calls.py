"""The profiles' calls that ask for servers: activation, plan, and enabling a model."""

from typing import Any

import pytest
from django.test import Client

from profiles_app.models import Profile
from profiles_app.services import make_active, save_yaml
from servers_app.models import Server, Wanted
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db

URL = "/api/models/profiles/a"


@pytest.fixture
def profile(make_model: MakeModel) -> Profile:
    make_model("here")
    make_model("other")
    return save_yaml("name: A\nenabled_models: [here]\n")


def post(client: Client, url: str, body: Any = None) -> Any:
    return client.post(url, body or {}, content_type="application/json")


def test_a_profile_is_activated(client: Client, profile: Profile) -> None:
    response = post(client, f"{URL}/activate")

    assert response.status_code == 200
    body = response.json()
    assert (body["name"], body["started"], body["failed"]) == ("a", ["here"], [])
    assert client.get("/api/models/profile").json()["slug"] == "a"


def test_errors_are_a_conflict_until_force_is_given(client: Client, profile: Profile) -> None:
    save_yaml("name: A\nenabled_models: [here, hare]\n")

    refused = post(client, f"{URL}/activate")
    assert refused.status_code == 409
    assert "hare" in refused.json()["detail"]
    assert not Profile.objects.get().is_active

    forced = post(client, f"{URL}/activate", {"force": True})
    assert forced.status_code == 200
    assert forced.json()["missing_models"] == ["hare"]


def test_a_plan_is_told_and_changes_nothing(client: Client, profile: Profile) -> None:
    body = client.get(f"{URL}/plan").json()

    assert [(server["model_id"], server["step"]) for server in body["servers"]] == [
        ("here", "start")
    ]
    assert body["memory_after_mib"] > body["memory_before_mib"] == 0
    assert body["validation"]["valid"] is True
    assert not Server.objects.exists()


@pytest.mark.parametrize("body", [{"force": "yes"}, [], {"force": 1}])
def test_a_force_that_is_no_truth_value_is_refused(
    client: Client, profile: Profile, body: Any
) -> None:
    response = client.post(f"{URL}/activate", body, content_type="application/json")

    assert response.status_code == 400
    assert "force" in response.json()["detail"]


def test_enabling_a_model_changes_the_active_profile(client: Client, profile: Profile) -> None:
    make_active(profile)

    response = client.put(
        "/api/models/other/enabled", {"enabled": True}, content_type="application/json"
    )

    assert response.json() == {
        "message": "Model other enabled",
        "model_id": "other",
        "enabled": True,
    }
    assert client.get("/api/models/profile").json()["enabled_models"] == ["here", "other"]
    assert Server.objects.get().wanted == Wanted.RUNNING
    assert client.get("/api/models/registry").json()["models"]["other"]["enabled"] is True


@pytest.mark.parametrize(
    ("model_id", "body", "status"),
    [
        ("nowhere", {"enabled": True}, 404),
        ("other", {"enabled": "yes"}, 400),
        ("other", {}, 400),
    ],
)
def test_what_cannot_be_enabled_is_refused(
    client: Client, profile: Profile, model_id: str, body: Any, status: int
) -> None:
    make_active(profile)

    response = client.put(
        f"/api/models/{model_id}/enabled", body, content_type="application/json"
    )

    assert response.status_code == status
    assert response.json()["detail"]


def test_without_an_active_profile_nothing_is_enabled(client: Client, profile: Profile) -> None:
    response = client.put(
        "/api/models/other/enabled", {"enabled": True}, content_type="application/json"
    )

    assert response.status_code == 404
    assert "No profile is active" in response.json()["detail"]
