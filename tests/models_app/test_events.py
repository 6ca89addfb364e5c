import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings
from redis import Redis
from redis.client import Pipeline, PubSub

from models_app import events
from models_app.events import channel, publish, stream
from tests.redis_server import PATIENCE_S, RedisServer


@pytest.fixture(autouse=True)
def own_publisher() -> Iterator[None]:
    """Give a publisher that has not failed yet, and close what it opened."""
    events._publisher.cache_clear()
    yield
    events._publisher(django_settings.REDIS_URL).close()
    events._publisher.cache_clear()


@pytest.fixture
def subscription(redis_server: RedisServer) -> Iterator[PubSub]:
    with Redis.from_url(redis_server.url) as redis, redis.pubsub() as pubsub:
        pubsub.subscribe(channel(redis_server.url))
        assert pubsub.get_message(timeout=PATIENCE_S)["type"] == "subscribe"
        yield pubsub


def next_event(subscription: PubSub) -> dict[str, Any]:
    message = subscription.get_message(timeout=PATIENCE_S)
    assert message is not None
    event: dict[str, Any] = json.loads(message["data"])
    return event


def test_an_event_says_what_it_is_and_when_it_was(subscription: PubSub) -> None:
    publish(events.SERVER, {"model_id": "qwen3_4p0b_q4km_fast", "state": "ready"})

    event = next_event(subscription)
    assert event.keys() == {"kind", "at", "model_id", "state"}
    assert (event["kind"], event["state"]) == ("server", "ready")
    assert datetime.fromisoformat(event["at"]).utcoffset() == timedelta()


def kept(redis_server: RedisServer) -> list[dict[str, Any]]:
    with Redis.from_url(redis_server.url) as redis:
        entries = redis.xrange(stream(redis_server.url))
    return [json.loads(fields[b"event"]) for _, fields in entries]


def test_an_event_is_kept_as_it_was_told(
    subscription: PubSub, redis_server: RedisServer
) -> None:
    publish(events.SERVER, {"state": "starting"})
    publish(events.SCAN, {"node": "local"})

    told = [next_event(subscription), next_event(subscription)]
    assert kept(redis_server) == told


def test_the_newest_are_kept_and_take_no_more_room(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis drops them by the hundred, so it may be as many more."""
    monkeypatch.setattr(events, "MAX_KEPT", 200)

    for number in range(1000):
        publish(events.SCAN, {"files_seen": number})

    numbers = [event["files_seen"] for event in kept(redis_server)]
    assert numbers == list(range(1000))[-len(numbers) :]
    assert 200 <= len(numbers) <= 300


def test_what_the_gateways_tell_each_other_is_not_kept(
    subscription: PubSub, redis_server: RedisServer
) -> None:
    publish(events.KEY, {"key_id": 1})

    assert next_event(subscription)["kind"] == "key"
    assert kept(redis_server) == []


def test_an_event_that_is_too_big_is_a_line_in_the_log_and_lost(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    publish(events.SCAN, {"folder": "x" * events.MAX_EVENT_BYTES})
    publish(events.SCAN, {"folder": "/models"})

    assert [event["kind"] for event in kept(redis_server)] == ["lost", "scan"]
    assert "A scan event could not be published" in caplog.text


def test_what_goes_with_an_event_cannot_change_what_it_is(subscription: PubSub) -> None:
    publish(events.MODEL, {"kind": "vision"})

    assert next_event(subscription)["kind"] == "model"


def test_many_threads_publish_at_once(subscription: PubSub) -> None:
    threads = [
        threading.Thread(target=publish, args=(events.TASK, {"task_id": number}))
        for number in range(16)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    told = {next_event(subscription)["task_id"] for _ in threads}
    assert told == set(range(16))


def test_without_redis_nothing_is_raised_and_nothing_is_tried_for_a_while(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_server.kill()
    publish(events.SCAN, {})
    tried: list[object] = []
    monkeypatch.setattr(Pipeline, "execute", lambda *_args: tried.append(1))

    publish(events.SCAN, {})

    assert tried == []


def test_after_a_while_it_is_tried_again_and_says_how_many_are_missing(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "QUIET_S", 0.0)
    redis_server.kill()
    publish(events.SCAN, {"node": "one"})
    publish(events.SCAN, {"node": "two"})
    publish(events.KEY, {"key_id": 1})  # which no listener misses
    redis_server.start()

    with Redis.from_url(redis_server.url) as redis, redis.pubsub() as pubsub:
        pubsub.subscribe(channel(redis_server.url))
        pubsub.get_message(timeout=PATIENCE_S)
        publish(events.SCAN, {"node": "three"})
        publish(events.SCAN, {"node": "four"})

        assert next_event(pubsub)["node"] == "three"
    lost, *later = kept(redis_server)
    assert (lost["kind"], lost["count"]) == ("lost", 2)
    assert [event["node"] for event in later] == ["three", "four"]


def test_a_redis_that_hangs_is_not_waited_for(redis_server: RedisServer) -> None:
    with redis_server.hanging():
        publish(events.SCAN, {})  # returns


def test_what_is_no_json_is_a_line_in_the_log_and_no_error(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    publish(events.SCAN, {"folder": object()})

    assert "A scan event could not be published" in caplog.text


def test_a_redis_url_that_cannot_be_read_is_no_error_either(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    good = settings.REDIS_URL
    settings.REDIS_URL = "redis://localhost:port"

    publish(events.SCAN, {})

    settings.REDIS_URL = good
    assert "A scan event could not be published" in caplog.text


@pytest.mark.parametrize(
    ("redis_url", "expected"),
    [
        ("redis://localhost:6379/2", "magi:2:events"),
        ("redis://localhost:6379", "magi:0:events"),
        ("unix:///run/redis.sock", "magi:0:events"),
        ("unix:///run/redis.sock?db=3", "magi:3:events"),
    ],
)
def test_deployments_that_share_a_redis_have_a_channel_each(
    redis_url: str, expected: str
) -> None:
    assert channel(redis_url) == expected
    assert stream(redis_url) == f"{expected}.kept"
