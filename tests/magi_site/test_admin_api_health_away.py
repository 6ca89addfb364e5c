"""The detailed health while Redis or the database is away, or hangs."""

import socket
import threading

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from magi_site.operations import looks
from models_app.errors import QueueUnavailableError
from servers_app.models import Node
from tests.redis_server import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/api/admin/health/detailed"
PATIENCE_S = 30.0  # a watchdog, far above what anything takes


@pytest.fixture(autouse=True)
def no_worker_is_asked(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magi_site.operations.parts.without_worker", lambda _names: {})
    Node.objects.create(name="local", heartbeat_at=timezone.now())


def threads_that_look() -> int:
    return sum(thread.name.startswith("look-") for thread in threading.enumerate())


def test_without_redis_the_queue_is_away_and_heartbeats_tell_of_the_nodes(
    client: Client, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_names: object) -> None:
        raise QueueUnavailableError

    monkeypatch.setattr("magi_site.operations.parts.without_worker", refuse)
    redis_server.kill()

    response = client.get(URL)

    body = response.json()
    assert (response.status_code, body["status"]) == (503, "unavailable")
    assert body["components"]["queue"]["status"] == "unavailable"
    assert "REDIS_URL" in body["components"]["queue"]["detail"]
    assert body["components"]["database"]["status"] == "healthy"
    nodes = body["components"]["nodes"]
    assert (nodes["status"], nodes["nodes"][0]["answers"]) == ("degraded", None)


def test_a_redis_that_hangs_is_away(client: Client, redis_server: RedisServer) -> None:
    with redis_server.hanging():
        response = client.get(URL)

    assert response.status_code == 503
    assert response.json()["components"]["queue"]["status"] == "unavailable"


def test_without_a_database_the_answer_is_json_all_the_same(
    client: Client, silent_database: socket.socket
) -> None:
    silent_database.close()

    response = client.get(URL)

    parts = response.json()["components"]
    assert (response.status_code, response.json()["status"]) == (503, "unavailable")
    assert "The database cannot be reached" in parts["database"]["detail"]
    assert parts["queue"]["status"] == "healthy"
    assert parts["servers"]["detail"].startswith("Nobody can tell")
    assert response.json()["detail"] == f"database: {parts['database']['detail']}"
    assert "hunter2" not in response.content.decode()


def test_a_database_that_hangs_is_away_and_costs_one_thread_however_often_it_is_asked(
    client: Client, silent_database: socket.socket
) -> None:
    responses = [client.get(URL) for _ in range(3)]

    assert [response.status_code for response in responses] == [503] * 3
    for response in responses:
        database = response.json()["components"]["database"]
        assert database["detail"] == "It did not answer within 1 s."
    assert threads_that_look() == 1


def test_whom_only_the_database_knows_is_told_that_it_is_away(
    client: Client, silent_database: socket.socket, settings: Settings
) -> None:
    settings.MAGI_API_AUTH = "required"
    silent_database.close()

    response = client.get(URL, headers={"Authorization": "Bearer magi_whoever"})

    assert response.status_code == 503
    assert response.json() == {
        "detail": "The database cannot be reached. Start it, or check DATABASE_URL."
    }


def test_who_is_signed_in_to_an_open_api_is_answered_without_the_database(
    client: Client, silent_database: socket.socket
) -> None:
    client.cookies["sessionid"] = "whatever"
    silent_database.close()

    assert client.get(URL).json()["status"] == "unavailable"


def test_who_may_not_read_is_not_told(client: Client, settings: Settings) -> None:
    settings.MAGI_API_AUTH = "required"

    stranger = client.get(URL)
    client.force_login(User.objects.create_user("eve"))
    guest = client.get(URL)

    assert (stranger.status_code, guest.status_code) == (401, 403)


def test_a_look_that_breaks_is_told_without_what_broke(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        msg = "the secret is hunter2"
        raise ValueError(msg)

    monkeypatch.setattr("magi_site.operations.parts.validate", fail)
    monkeypatch.setattr("magi_site.operations.parts.active_profile", fail)

    response = client.get(URL)

    part = response.json()["components"]["profiles"]
    assert part["status"] == "unavailable"
    assert "the web server's log says why" in part["detail"]
    assert "hunter2" not in response.content.decode()


def test_who_looks_while_somebody_does_joins_them() -> None:
    may_end = threading.Event()
    looked = []

    def look() -> int:
        looked.append(1)
        may_end.wait(PATIENCE_S)
        return 7

    first, second = looks.begin("a test", look), looks.begin("a test", look)
    may_end.set()

    found = looks.results({"first": first, "second": second}, seconds=PATIENCE_S)

    assert found == {"first": 7, "second": 7}
    assert looked == [1]


def test_a_look_that_could_not_begin_keeps_no_later_one_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_thread: threading.Thread) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError):
            looks.begin("a part", int)

    assert looks.begin("a part", int).result(PATIENCE_S) == 0
