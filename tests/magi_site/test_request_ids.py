"""One id of a request: in its answer, in the tasks that it queued, and in what is logged."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app, shared_task, signals
from django.contrib.auth.models import User
from django.test import Client

from models_app.request_ids import accepted_or_new, current_request_id, with_request_id
from models_app.task_counts import task_counts
from models_app.task_signals import HEADER, current_task

NAME = "tests.request_ids.tell"


@shared_task(name=NAME)
def tell(*, fails: bool = False) -> tuple[str, str]:
    if fails:
        raise ValueError(NAME)
    task = current_task()
    return current_request_id(), task.name if task is not None else ""


@pytest.fixture
def published() -> Iterator[list[dict[str, Any]]]:
    """Give the headers of what would be queued."""
    seen: list[dict[str, Any]] = []

    def see(*, headers: dict[str, Any], **_signal: Any) -> None:
        seen.append(headers)

    signals.before_task_publish.connect(see, weak=False)
    yield seen
    signals.before_task_publish.disconnect(see)


def publish() -> None:
    """Do what a publisher does before it talks to the broker."""
    signals.before_task_publish.send(sender=NAME, headers={"id": "1"}, body=((), {}, {}))


def run(headers: dict[str, Any], **arguments: Any) -> Any:
    """Do the task as a worker does, whose message had these headers."""
    task = current_app.tasks[NAME]
    return task.apply(kwargs=arguments, headers=headers).result


@pytest.mark.parametrize("given", ["mine-1", "a" * 128, "A.b_c-9"])
def test_an_id_that_is_one_is_taken(given: str) -> None:
    assert accepted_or_new(given) == given


@pytest.mark.parametrize(
    "given", [None, "", "a" * 129, "a b", "a\nb", 'a"b', "é", "<script>", "a\x00"]
)
def test_for_any_other_a_new_one_is_made(given: str | None) -> None:
    made = {accepted_or_new(given) for _ in range(10)}

    assert len(made) == 10
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in made)


@pytest.mark.django_db
def test_an_answer_of_django_has_the_id(client: Client) -> None:
    mine = client.get("/api/docs/", headers={"X-Request-Id": "mine-1"})
    others = [client.get("/api/docs/") for _ in range(2)]

    assert mine.headers["X-Magi-Request-Id"] == "mine-1"
    assert len({answer.headers["X-Magi-Request-Id"] for answer in others}) == 2
    assert current_request_id() == ""


@pytest.mark.django_db
def test_an_answer_of_the_admin_has_it_too(admin_client: Client, admin_user: User) -> None:
    answer = admin_client.get("/admin/", headers={"X-Request-Id": "mine-1"})

    assert answer.headers["X-Magi-Request-Id"] == "mine-1"


def test_a_task_is_queued_on_account_of_the_request(published: list[dict[str, Any]]) -> None:
    publish()
    with with_request_id("mine-1"):
        publish()

    assert [headers.get(HEADER) for headers in published] == [None, "mine-1"]


def test_a_task_is_done_on_account_of_the_request_and_the_next_is_not() -> None:
    assert run({HEADER: "mine-1"}) == ("mine-1", NAME)
    assert run({}) == ("", NAME)
    assert (current_request_id(), current_task()) == ("", None)


def test_an_id_of_a_message_that_is_none_is_not_believed() -> None:
    assert run({HEADER: "mine\nINFO root: all is well"}) == ("", NAME)


def test_tasks_count_by_name_with_those_that_failed() -> None:
    before = task_counts().get(NAME, {"done": 0, "failed": 0, "running": 0, "seconds": 0.0})

    run({})
    run({}, fails=True)

    after = task_counts()[NAME]
    assert after["done"] - before["done"] == 2
    assert after["failed"] - before["failed"] == 1
    assert after["running"] == 0
