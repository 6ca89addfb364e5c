"""The calls of comparisons: what they take, answer and refuse."""

from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from models_app.models import DiscoveredModel
from servers_app import tasks
from servers_app.comparison_models import Comparison, Vote
from tests.conftest import MakeModel
from tests.servers_app.comparing.conftest import Engine

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/api/models/comparisons"
Pair = tuple[DiscoveredModel, DiscoveredModel]


def post(client: Client, path: str, body: Any) -> Any:
    return client.post(path, body, content_type="application/json")


@pytest.fixture
def worked_off(monkeypatch: pytest.MonkeyPatch, pair: Pair) -> None:
    """Take the place of queue and worker: what is asked for is done at once."""
    monkeypatch.setattr("servers_app.comparing.api.require_worker", lambda _node: None)
    monkeypatch.setattr(
        "servers_app.comparing.service.enqueue", lambda task, number, **_options: task(number)
    )


def test_a_comparison_is_asked_for_done_voted_on_and_shown(
    client: Client, worked_off: None
) -> None:
    body = {
        "model_a": "ada",
        "model_b": "bob",
        "prompts": [{"prompt": "Say hello."}, {"prompt": "Add.", "task": "coding"}],
        "settings": {"max_tokens": 5},
    }

    asked = post(client, PATH, body)
    number = asked.json()["id"]
    voted = post(client, f"{PATH}/{number}/votes", {"position": 1, "vote": "left"})
    shown = client.get(f"{PATH}/{number}").json()
    listed = client.get(PATH, {"model": "bob"}).json()

    assert (asked.status_code, voted.status_code) == (200, 200)
    assert asked.json()["state"] == "finished"
    assert asked.json()["settings"]["max_tokens"] == 5
    assert {voted.json()["left_model"], voted.json()["right_model"]} == {"ada", "bob"}
    assert shown["prompts"][0]["left_model"] is None
    assert shown["results"][0]["wins"] + shown["results"][0]["losses"] == 1
    assert (listed["count"], listed["comparisons"][0]["answered"]) == (1, 4)
    assert "prompts" not in listed["comparisons"][0]


def test_the_shipped_prompts_of_a_task_are_taken_by_its_name(
    client: Client, worked_off: None
) -> None:
    asked = post(client, PATH, {"model_a": "ada", "model_b": "bob", "task": "creative"})

    assert {prompt["task"] for prompt in asked.json()["prompts"]} == {"creative"}


def test_what_is_not_done_in_time_is_answered_with_where_to_follow_it(
    client: Client, pair: Pair, queued: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers_app.comparing.api.require_worker", lambda _node: None)

    asked = post(
        client, f"{PATH}?wait=0", {"model_a": "ada", "model_b": "bob", "task": "coding"}
    )
    followed = client.get(asked.json()["status_url"]).json()
    cancelled = client.post(f"{PATH}/{queued[0]}/cancel")

    assert asked.status_code == 202
    assert asked.json()["comparison_id"] == queued[0]
    assert (followed["state"], followed["percent"]) == ("queued", 0)
    assert cancelled.json()["state"] == "cancelled"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        pytest.param([], 400, "the body: ", id="no object"),
        pytest.param({}, 400, "model_a", id="nothing"),
        pytest.param({"model_a": "ada", "model_b": "bob"}, 400, "prompts, or a task", id="no"),
        pytest.param(
            {"model_a": "ada", "model_b": "x", "task": "coding"}, 404, "Available", id="unknown"
        ),
        pytest.param(
            {"model_a": "ada", "model_b": "ada", "task": "coding"}, 400, "different", id="same"
        ),
        pytest.param(
            {"model_a": "ada", "model_b": "bob", "task": "juggling"},
            400,
            "task: it is one of: general, coding",
            id="task",
        ),
        pytest.param(
            {"model_a": "ada", "model_b": "bob", "prompts": []}, 400, "prompts", id="none"
        ),
        pytest.param(
            {"model_a": "ada", "model_b": "bob", "prompts": ["hello"]},
            400,
            "prompts[0]",
            id="texts",
        ),
        pytest.param(
            {"model_a": "ada", "model_b": "bob", "prompts": [{"prompt": "a\0"}]},
            400,
            "prompts[0].prompt",
            id="a NUL",
        ),
        pytest.param(
            {
                "model_a": "ada",
                "model_b": "bob",
                "task": "coding",
                "settings": {"max_tokens": 10**9},
            },
            400,
            "settings.max_tokens",
            id="too many tokens",
        ),
        pytest.param(
            {"model_a": "ada", "model_b": "bob", "task": "coding", "prompt": "x"},
            400,
            "prompt",
            id="an unknown key",
        ),
    ],
)
def test_a_body_that_asks_for_no_comparison_is_refused_by_name(
    client: Client, worked_off: None, body: Any, status: int, said: str
) -> None:
    refused = post(client, PATH, body)

    assert refused.status_code == status
    assert said in refused.json()["detail"]
    assert not Comparison.objects.exists()


def test_of_many_wrong_items_only_the_first_are_told(client: Client, worked_off: None) -> None:
    body = {"model_a": "ada", "model_b": "bob", "prompts": ["text"] * 5000}

    refused = post(client, PATH, body)

    assert refused.status_code == 400
    assert "prompts[9]: " in refused.json()["detail"]
    assert "prompts[10]" not in refused.json()["detail"]


@pytest.mark.parametrize("number", ["0", "7", str(2**70)])
def test_a_comparison_that_is_not_there_is_not_found(client: Client, number: str) -> None:
    answers = [
        client.get(f"{PATH}/{number}"),
        client.post(f"{PATH}/{number}/cancel"),
        post(client, f"{PATH}/{number}/votes", {"position": 0, "vote": "tie"}),
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert "not found" in answers[0].json()["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"position": 0, "vote": "ada"}, 400),
        ({"position": -1, "vote": "tie"}, 400),
        ({"position": 99, "vote": "tie"}, 404),
        ({"position": 0}, 400),
        ({"position": "0", "vote": "tie"}, 400),
    ],
    ids=str,
)
def test_a_vote_that_cannot_be_is_refused(
    client: Client, worked_off: None, body: dict[str, Any], status: int
) -> None:
    number = post(
        client, PATH, {"model_a": "ada", "model_b": "bob", "prompts": [{"prompt": "a"}]}
    ).json()["id"]

    assert post(client, f"{PATH}/{number}/votes", body).status_code == status
    assert not Vote.objects.exists()


@pytest.mark.parametrize("query", ["limit=0", "state=done", "sort=1"])
def test_a_query_that_is_not_known_is_refused(client: Client, query: str) -> None:
    assert client.get(f"{PATH}?{query}").status_code == 400


def test_a_longer_list_costs_no_more_queries(
    client: Client, django_assert_max_num_queries: DjangoAssertNumQueries, engine: Engine
) -> None:
    for number in range(20):
        comparison = Comparison.objects.create(model_a=f"a{number}", model_b="b")
        comparison.prompts.create(position=0, prompt="a")

    with django_assert_max_num_queries(8):
        assert client.get(PATH).json()["count"] == 20


def test_comparisons_are_no_models_id(client: Client, make_model: MakeModel) -> None:
    make_model("comparisons")

    assert "comparisons" in client.get(PATH).json()
    assert tasks.compare.name == "servers_app.tasks.compare"
