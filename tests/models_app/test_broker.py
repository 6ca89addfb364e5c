"""How a worker keeps at a broker that has gone: for good, and each few seconds."""

from typing import Any

import pytest
from django.conf import settings
from kombu import Connection

from magi_site.celery import app
from models_app.broker import RETRY_MAX_S, PatientConnection


def test_a_worker_tries_again_each_few_seconds_and_never_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(
        Connection, "_ensure_connection", lambda _self, *_args, **options: asked.update(options)
    )

    connection = app.connection_for_read()
    connection.ensure_connection(None, app.conf.broker_connection_max_retries)

    assert isinstance(connection, PatientConnection)
    assert asked["interval_max"] == RETRY_MAX_S
    assert app.conf.broker_connection_max_retries is None


def test_a_connection_that_does_not_answer_is_found_out() -> None:
    options = settings.CELERY_BROKER_TRANSPORT_OPTIONS

    assert options["socket_keepalive"]
    assert 10_000 in options["socket_keepalive_options"].values()
    assert options["socket_timeout"] == options["health_check_interval"] == 5


def test_what_a_worker_is_at_goes_on_while_the_broker_is_away() -> None:
    assert not app.conf.worker_cancel_long_running_tasks_on_connection_loss
