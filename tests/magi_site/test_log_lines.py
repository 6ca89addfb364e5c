"""What a line of the log has in it, for people and for programs."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from magi_site.celery import app
from magi_site.log_lines import JsonFormatter, LineFormatter, Seldom
from models_app import task_signals
from models_app.request_ids import with_request_id
from tests.magi_site.metrics.web_processes import Machine, machine_in
from tests.redis_server import RedisServer

Logged = Callable[[], dict[str, Any]]


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def logger(stream: io.StringIO) -> Iterator[logging.Logger]:
    logger = logging.getLogger("tests.log_lines")
    logger.propagate = False
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("far"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield logger
    logger.removeHandler(handler)
    logger.propagate = True


@pytest.fixture
def logged(stream: io.StringIO) -> Logged:
    """Return a function that gives the one line that was logged."""

    def read() -> dict[str, Any]:
        (line,) = stream.getvalue().splitlines()
        fields: dict[str, Any] = json.loads(line)
        return fields

    return read


def test_a_line_of_json_says_when_where_and_what(
    logger: logging.Logger, logged: Logged
) -> None:
    logger.warning("%s of %s", 1, 2)

    fields = logged()
    assert fields["time"].endswith("Z")
    assert len(fields["time"]) == len("2026-11-22T04:48:28.588Z")
    assert {**fields, "time": "", "pid": 0} == {
        "time": "",
        "level": "WARNING",
        "logger": "tests.log_lines",
        "message": "1 of 2",
        "node": "far",
        "pid": 0,
    }


def test_whatever_a_message_holds_it_stays_one_line() -> None:
    told = 'a "quote"\nand\u2028a line\x00\ud800'
    # Not logged: pytest would keep it, and no process could tell another of it.
    record = logging.LogRecord("tests", logging.INFO, __file__, 1, "%s", (told,), None)

    (line,) = JsonFormatter("far").format(record).splitlines()

    assert json.loads(line)["message"] == told


def test_of_lines_that_repeat_themselves_one_is_told_in_a_while(
    logger: logging.Logger, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    seldom = Seldom()
    logger.addFilter(seldom)
    for attempt in range(5):
        logger.warning("no connection: %s", attempt)
        logger.warning("given up")
    monkeypatch.setattr("magi_site.log_lines.SELDOM_S", 0.0)
    logger.warning("no connection: %s", 5)
    logger.removeFilter(seldom)

    told = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    last = "no connection: 5 (and 4 more like it before)"
    assert told == ["no connection: 0", "given up", last]


def test_the_pool_of_connections_says_seldom_that_there_are_none() -> None:
    assert any(isinstance(each, Seldom) for each in logging.getLogger("psycopg.pool").filters)


def test_an_exception_is_one_field(logger: logging.Logger, logged: Logged) -> None:
    try:
        raise ValueError("out of bounds")  # noqa: EM101, TRY301
    except ValueError:
        logger.exception("It failed.")

    exception = logged()["exception"]
    assert exception.startswith("Traceback (most recent call last):\n")
    assert exception.endswith("ValueError: out of bounds")


def test_a_line_has_the_id_of_the_request_and_the_task_that_it_is_about(
    logger: logging.Logger, logged: Logged
) -> None:
    token = task_signals._current.set(
        task_signals.TaskRef("task-1", "servers_app.tasks.settle")
    )
    try:
        with with_request_id("request-1"):
            logger.info("done")
    finally:
        task_signals._current.reset(token)

    fields = logged()
    assert fields["request_id"] == "request-1"
    assert (fields["task"], fields["task_id"]) == ("servers_app.tasks.settle", "task-1")


def test_fields_of_a_record_stand_beside_the_others_and_replace_none(
    logger: logging.Logger, logged: Logged
) -> None:
    about = {"server_id": 7, "level": "made up", "path": Path("/models")}

    logger.info("ready", extra={"fields": about})

    fields = logged()
    assert (fields["server_id"], fields["level"]) == (7, "INFO")
    assert fields["path"] == "/models"


@pytest.mark.parametrize(
    ("message", "ending"),
    [("ready", "ready [request request-1]"), ("request-1 is over", "request-1 is over")],
)
def test_a_line_for_people_ends_in_the_requests_id_unless_it_has_it(
    message: str, ending: str
) -> None:
    record = logging.LogRecord("models_app", logging.INFO, "", 0, message, None, None)

    with with_request_id("request-1"):
        line = LineFormatter().format(record)

    assert line.endswith(f" INFO models_app: {ending}")


@pytest.fixture
def machine(tmp_path: Path, redis_server: RedisServer) -> Iterator[Machine]:
    with machine_in(tmp_path, redis_server.url) as machine:
        yield machine


def test_all_that_a_web_process_says_is_json_with_a_line_for_each_request(
    machine: Machine,
) -> None:
    web = machine.start_web(MAGI_LOG_FORMAT="json")
    body = json.dumps({"model": "made-up", "messages": [{"content": "a secret prompt"}]})
    headers = {"X-Request-Id": "mine-1", "Authorization": "Bearer sk-a-secret-key"}

    web.ask("/v1/chat/completions", body.encode(), headers)
    web.ask("/v1/models/a%0Ab")
    web.process.terminate()
    web.process.wait(60)

    lines = [json.loads(line) for line in web.lines()]
    assert any(line["message"] == "Application startup complete." for line in lines)
    assert not [line for line in lines if line["logger"] == "uvicorn.access"]
    first, second = (line for line in lines if line["logger"].endswith("request_line"))
    assert first["request_id"] == "mine-1"
    assert {name: first[name] for name in ("method", "path", "status", "outcome")} == {
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 404,
        "outcome": "refused",
    }
    assert (second["status"], second["path"]) == (404, "/v1/models/a b")
    said = "\n".join(web.lines())
    assert not any(secret in said for secret in ("a secret prompt", "sk-a-secret", "made-up"))


def test_beat_listens_for_signals_when_its_schedule_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = []

    class Service:
        @property
        def scheduler(self) -> None:
            done.append("opens")

    monkeypatch.setattr(
        "celery.apps.beat.Beat.install_sync_handler", lambda *_args: done.append("listens")
    )

    beat: Any = app.Beat(quiet=True)
    beat.install_sync_handler(Service())

    assert done == ["opens", "listens"]


@pytest.mark.parametrize("part", ["worker", "beat"])
def test_all_that_a_worker_and_beat_say_is_json(part: str, machine: Machine) -> None:
    log = machine.folder / f"{part}.log"
    (machine.folder / "data" / "run").mkdir(parents=True, exist_ok=True)
    flags = ["--pool", "solo", "--queues", "node.test"] if part == "worker" else []
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "magi_site", part, *flags],
            cwd=django_settings.BASE_DIR,
            env={
                **machine.magi.environment,
                "REDIS_URL": machine.redis_url,
                "MAGI_LOG_FORMAT": "json",
            },
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        is_up = "ready." if part == "worker" else "beat: Starting..."
        machine.magi.until(lambda: is_up in log.read_text())
    finally:
        process.terminate()
        process.wait(60)

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert any(line["message"].endswith(is_up) for line in lines)
    if part == "worker":
        assert any("Warm shutdown" in line["message"] for line in lines)
