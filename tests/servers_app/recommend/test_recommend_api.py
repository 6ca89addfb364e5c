"""GET /api/models/recommendations, and a profile of them by POST."""

from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from profiles_app.models import Profile
from profiles_app.presets import ensure_shipped_presets
from tests.servers_app.recommend.conftest import NODE, MakeNode, OnNode
from tests.servers_app.recommend.machines import hardware

pytestmark = pytest.mark.django_db

URL = "/api/models/recommendations"
PROFILE = f"{URL}/profile"


@pytest.fixture(autouse=True)
def elsewhere(settings: Settings, make_node: MakeNode, on_node: OnNode) -> None:
    settings.MAGI_API_AUTH = "off"
    settings.LLAMA_SERVER_PATH = "/nowhere/llama-server"
    ensure_shipped_presets()
    make_node(hardware(16, cores=8))
    on_node("four", 4)
    on_node("coder", 4, is_coder=True)
    on_node("big", 32)


def post(client: Client, body: object) -> Any:
    return client.post(PROFILE, body, content_type="application/json")


def test_models_are_recommended_for_a_task_and_a_node(client: Client) -> None:
    query: dict[str, str | int] = {"task": "coding", "node": NODE, "limit": 1}
    told = client.get(URL, query).json()

    assert (told["task"], told["node"], told["count"]) == ("coding", NODE, 2)
    assert [each["model_id"] for each in told["recommendations"]] == ["coder"]
    assert [each["model_id"] for each in told["not_recommended"]] == ["big"]
    assert told["floor"]["preset"] == "balanced"
    assert told["room"]["ram_mib"] == 15 * 1024


def test_without_a_word_it_is_for_anything_on_this_machine(client: Client) -> None:
    told = client.get(URL).json()

    assert (told["task"], told["node"], told["count"]) == ("general", "local", 0)
    assert told["not_recommended"][0]["why"] == "Its files are on node elsewhere."


@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ("task=chess", 400, "task=chess: it is one of: general"),
        ("limit=0", 400, "limit=0: it is a number from 1 to 100."),
        ("limit=x", 400, "limit=x: it is a number from 1 to 100."),
        ("node=nowhere", 404, "There is no node 'nowhere'. Available: local, elsewhere."),
        ("node=%00", 404, "There is no node"),
        (f"node={'x' * 101}", 400, "node="),
        ("what=now", 400, "what: there is no such parameter."),
    ],
)
def test_a_query_that_cannot_be_answered_is_refused(
    client: Client, query: str, status: int, detail: str
) -> None:
    answer = client.get(f"{URL}?{query}")

    assert answer.status_code == status
    assert answer.json()["detail"].startswith(detail)


def test_a_profile_is_made_and_not_activated(client: Client) -> None:
    answer = post(client, {"name": "For code", "task": "coding", "node": NODE})

    assert answer.status_code == 201
    told = answer.json()
    assert told["message"] == "Profile 'For code' created successfully"
    assert (told["name"], told["preset"]) == ("for-code", "code")
    assert [member["model_id"] for member in told["members"]] == ["coder"]
    assert told["memory_mib"] <= told["room_mib"]
    assert not Profile.objects.get(slug="for-code").is_active
    plan = client.get("/api/models/profiles/for-code/plan").json()
    assert plan["memory_after_mib"] == told["memory_mib"]
    assert plan["validation"]["valid"] is True


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({}, 400, "name: This field is required."),
        ([], 400, "the body: Invalid data."),
        ({"name": "x", "task": "chess"}, 400, "task: it is one of: general"),
        ({"name": "x", "taks": "coding"}, 400, "taks: Unknown; did you mean task?"),
        ({"name": ["x"]}, 400, "name: "),
        ({"name": "x", "node": "nowhere"}, 404, "There is no node 'nowhere'."),
        ({"name": "x"}, 409, "No model on local can do this task, general."),
        ({"name": "../x", "node": NODE}, 400, "name: A name has no slash"),
    ],
)
def test_a_profile_that_cannot_be_made_is_refused(
    client: Client, body: object, status: int, detail: str
) -> None:
    answer = post(client, body)

    assert answer.status_code == status
    assert answer.json()["detail"].startswith(detail)
    assert not Profile.objects.exists()


def test_a_name_that_is_taken_is_refused(client: Client) -> None:
    post(client, {"name": "x", "node": NODE})

    assert post(client, {"name": "x", "node": NODE}).status_code == 409
