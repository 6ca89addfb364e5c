"""How a web process says that it takes requests, and how it takes its leave."""

import http.client
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.redis_server import RedisServer
from tests.web_process import HOST, PATIENCE_S, WebProcess, database_url

pytestmark = pytest.mark.django_db(transaction=True)

LONG_S = "600"
Connect = Callable[[WebProcess], http.client.HTTPConnection]


@pytest.fixture
def web(tmp_path: Path, redis_server: RedisServer) -> Iterator[WebProcess]:
    """One that is not started yet."""
    environment = {"DATABASE_URL": database_url(), "REDIS_URL": redis_server.url}
    process = WebProcess(tmp_path, environment)
    yield process
    process.kill()


def ask(
    connection: http.client.HTTPConnection, path: str, method: str = "GET"
) -> http.client.HTTPResponse:
    connection.request(method, path)
    answer = connection.getresponse()
    answer.read()
    return answer


@pytest.fixture
def connect() -> Iterator[Connect]:
    with ExitStack() as stack:

        def connect(web: WebProcess) -> http.client.HTTPConnection:
            connection = http.client.HTTPConnection(HOST, web.port, timeout=PATIENCE_S)
            return stack.enter_context(closing(connection))

        yield connect


def test_it_drains_while_it_serves_on_and_exits_with_0(
    web: WebProcess, connect: Connect
) -> None:
    web.environment["MAGI_DRAIN_SECONDS"] = "6"
    web.start()
    kept, late = connect(web), connect(web)
    assert ask(kept, "/v1/models").getheader("connection") is None
    assert ask(kept, "/ready", "HEAD").status == 200
    assert ask(kept, "/ready", "POST").status == 405

    web.terminate()
    web.until_ready(503)

    for connection, path in ((kept, "/v1/models"), (late, "/api/health"), (late, "/health")):
        answer = ask(connection, path)
        assert answer.status != 503
        assert answer.getheader("connection") == "close"
    assert web.wait() == 0


@pytest.mark.parametrize(
    ("number", "drain_s"), [(signal.SIGTERM, "0"), (signal.SIGINT, LONG_S)]
)
def test_without_a_drain_it_ends_at_once(
    web: WebProcess, number: signal.Signals, drain_s: str
) -> None:
    web.environment["MAGI_DRAIN_SECONDS"] = drain_s
    web.start()
    assert web.process is not None

    web.process.send_signal(number)

    assert web.wait() == 0


def test_a_second_signal_ends_a_drain(web: WebProcess) -> None:
    web.environment["MAGI_DRAIN_SECONDS"] = LONG_S
    web.start()
    web.terminate()
    web.terminate()  # the same one, which the parent has passed on
    web.until_ready(503)
    time.sleep(1)
    web.until_ready(503)

    web.terminate()

    assert web.wait() == 128 + signal.SIGTERM


def test_streams_of_events_do_not_keep_it_from_ending(
    web: WebProcess, connect: Connect
) -> None:
    web.environment |= {"MAGI_DRAIN_SECONDS": "2", "MAGI_SHUTDOWN_SECONDS": LONG_S}
    web.start()
    before, during = connect(web), connect(web)
    before.request("GET", "/api/events")
    with before.getresponse() as events:
        assert events.status == 200
        web.terminate()
        web.until_ready(503)

    during.request("GET", "/api/events")  # as a browser that was sent away comes back
    with during.getresponse() as events:
        assert events.status == 200
        assert web.wait() == 0


def test_a_port_that_is_taken_is_a_failure(web: WebProcess, tmp_path: Path) -> None:
    web.start()
    second = WebProcess(tmp_path / "second", web.environment, port=web.port)

    second.launch()

    assert second.wait() not in (0, None)
