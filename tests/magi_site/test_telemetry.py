"""Traces, as a collector gets them over HTTP; and nothing of it where nobody wants any."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import aiohttp
import pytest
from celery import current_app, shared_task, signals
from django.conf import settings as django_settings
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from magi_site import telemetry
from magi_site.telemetry.exporting import Exporting
from models_app.request_ids import with_request_id
from models_app.tracing import span
from servers_app.gateway.app import Gateway
from servers_app.gateway.routes import RoutingTable
from servers_app.node_clock import NodeClock
from tests.redis_server import RedisServer
from tests.servers_app.gateway.conftest import (
    MakeUpstream,
    client,
    make_replica,
    make_route,
    make_table,
    make_upstream,
    serving_gateway,
    stack,
)

__all__ = ["client", "make_upstream", "stack"]  # fixtures of the gateway's tests

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
CHAT = "/v1/chat/completions"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"
ELSEWHERE = "http://127.0.0.1:1"
NAME = "tests.telemetry.work"


@shared_task(name=NAME)
def work() -> None:
    with span("launch a server", model="qwen"):
        pass


class Collector:
    """An OTLP collector: what it was sent, by the names of spans."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/v1/traces"
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *_arguments: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()

    def spans(self) -> dict[str, Span]:
        return {
            one.name: one
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for one in scope.spans
        }

    def resource(self) -> dict[str, str]:
        (resource, *_) = self.requests[0].resource_spans
        return {one.key: one.value.string_value for one in resource.resource.attributes}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    collector = Collector()
    monkeypatch.setenv(ENDPOINT, collector.url)
    yield collector
    collector.close()


@pytest.fixture
def exporting(collector: Collector) -> Iterator[Exporting]:
    started = telemetry.start("web")
    assert isinstance(started, Exporting)
    yield started
    started.close()


def attributes(one: Span) -> dict[str, Any]:
    return {
        item.key: getattr(item.value, item.value.WhichOneof("value") or "string_value")
        for item in one.attributes
    }


async def ask(
    gateway_url: str, client: aiohttp.ClientSession, model: str = "qwen", **headers: str
) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "a secret prompt"}]}
    async with client.post(f"{gateway_url}{CHAT}", json=body, headers=headers) as response:
        await response.read()


async def test_a_request_is_a_part_of_its_clients_trace_and_the_servers_part_of_it(
    collector: Collector,
    exporting: Exporting,
    make_upstream: MakeUpstream,
    client: aiohttp.ClientSession,
) -> None:
    upstream = await make_upstream()
    replicas = make_replica(ELSEWHERE, server_id=1), make_replica(upstream.url, server_id=2)

    async def load() -> RoutingTable:
        return make_table(make_route("qwen", *replicas))

    gateway = Gateway(load, refresh_seconds=3600, spans=exporting.spans())
    await gateway.startup()
    async with serving_gateway(gateway) as url:
        headers = {"traceparent": TRACEPARENT, "X-Request-Id": "mine-1"}
        await ask(url, client, **headers)
        await ask(url, client, **headers)  # one of the two meets the server that is away
    await gateway.shutdown()
    exporting.close()

    spans = collector.spans()
    request, asked, chosen = (
        spans[name] for name in (f"POST {CHAT}", "ask llama-server", "choose a server")
    )
    assert {one.trace_id.hex() for one in spans.values()} == {TRACE_ID}
    assert request.parent_span_id.hex() == "b7ad6b7169203331"
    assert asked.parent_span_id == chosen.parent_span_id == request.span_id
    assert (request.kind, asked.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    about = attributes(request)
    assert (about["magi.request_id"], about["magi.outcome"]) == ("mine-1", "ok")
    assert about["gen_ai.response.model"] == "qwen"
    sent = [received.headers for received in upstream.received]
    assert all(one["x-request-id"] == "mine-1" for one in sent)
    assert sent[-1]["traceparent"] == f"00-{TRACE_ID}-{asked.span_id.hex()}-01"
    everything = b"".join(one.SerializeToString() for one in collector.requests)
    assert b"secret" not in everything
    statuses = [
        one.status.code
        for each in collector.requests
        for resource in each.resource_spans
        for scope in resource.scope_spans
        for one in scope.spans
        if one.name == "ask llama-server"
    ]
    assert len(statuses) == 3  # the one that was away, and those that answered
    assert statuses.count(2) == 1


async def test_a_request_that_nobody_can_answer_is_a_span_too(
    collector: Collector, exporting: Exporting, client: aiohttp.ClientSession
) -> None:
    async def load() -> RoutingTable:
        return make_table()

    gateway = Gateway(load, refresh_seconds=3600, spans=exporting.spans())
    await gateway.startup()
    async with serving_gateway(gateway) as url:
        await ask(url, client, model="made-up")
    await gateway.shutdown()
    exporting.close()

    request = collector.spans()[f"POST {CHAT}"]
    assert attributes(request)["error.type"] == "model_not_found"
    assert b"made-up" not in request.SerializeToString()


def test_a_task_goes_on_with_the_trace_that_queued_it(
    collector: Collector, exporting: Exporting
) -> None:
    headers: dict[str, Any] = {"id": "task-1"}
    with exporting.span("a request", {}):
        signals.before_task_publish.send(sender=NAME, headers=headers, body=((), {}, {}))

    given = {"traceparent": headers["traceparent"]}
    current_app.tasks[NAME].apply(headers=given)
    exporting.close()

    spans = collector.spans()
    queued, done, launched = (
        spans[name] for name in (f"queue {NAME}", f"do {NAME}", "launch a server")
    )
    assert len({one.trace_id for one in spans.values()}) == 1
    assert queued.parent_span_id == spans["a request"].span_id
    assert done.parent_span_id == queued.span_id
    assert launched.parent_span_id == done.span_id
    assert (queued.kind, done.kind) == (Span.SPAN_KIND_PRODUCER, Span.SPAN_KIND_CONSUMER)
    assert attributes(launched)["magi.model"] == "qwen"


def test_what_the_clock_of_a_node_queues_is_in_no_trace(
    collector: Collector,
    exporting: Exporting,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = redis_server.url.replace("unix://", "redis+socket://")
    monkeypatch.setattr(current_app.conf, "broker_url", url)
    monkeypatch.setattr(current_app.conf, "broker_write_url", url)
    monkeypatch.setitem(django_settings.NODE_SCHEDULE, NAME, 5)
    said: list[dict[str, Any]] = []

    def listen(*, headers: dict[str, Any], **_signal: Any) -> None:
        said.append(headers)

    signals.before_task_publish.connect(listen)
    try:
        NodeClock({NAME: 5}).tick()
    finally:
        signals.before_task_publish.disconnect(listen)
    (headers,) = said
    given = {name: headers[name] for name in ("traceparent",) if name in headers}
    current_app.tasks[NAME].apply(headers=given)
    exporting.close()

    # What the task does by itself begins a trace; that it was queued and done is in none.
    assert collector.spans().keys() == {"launch a server"}


@pytest.mark.parametrize("on_account_of", ["a span", "a request"])
def test_what_somebody_asked_for_is_traced_though_the_clock_queues_it_too(
    on_account_of: str,
    collector: Collector,
    exporting: Exporting,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(django_settings.NODE_SCHEDULE, NAME, 5)
    is_span = on_account_of == "a span"
    headers: dict[str, Any] = {"id": "task-1"}

    with exporting.span("a task", {}) if is_span else with_request_id("mine-1"):
        signals.before_task_publish.send(sender=NAME, headers=headers, body=((), {}, {}))
    exporting.close()

    assert "traceparent" in headers
    assert f"queue {NAME}" in collector.spans()


def test_the_service_is_named_after_the_part_unless_somebody_names_it(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    for named in ("", "mine"):
        monkeypatch.setenv("OTEL_SERVICE_NAME", named)
        exporting = telemetry.start("worker")
        assert isinstance(exporting, Exporting)
        with exporting.span("work", {}):
            pass
        exporting.close()

    services = [
        next(a.value.string_value for a in one.resource.attributes if a.key == "service.name")
        for request in collector.requests
        for one in request.resource_spans
    ]
    assert services == ["magi-worker", "mine"]
    assert collector.resource()["magi.node"] == django_settings.MAGI_NODE


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {ENDPOINT: " "},
        {ENDPOINT: "http://x", "OTEL_SDK_DISABLED": "true"},
        {ENDPOINT: "http://x", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nobody_wants_traces(environment: dict[str, str]) -> None:
    assert not telemetry.is_wanted(environment)


def test_where_nobody_wants_traces_nothing_of_it_is_imported() -> None:
    code = (
        "import sys; from magi_site.asgi import traces; "
        "print(traces, 'opentelemetry.exporter' in sys.modules)"
    )

    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=django_settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout.split() == ["None", "False"]


def test_without_its_packages_one_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "magi_site.telemetry.exporting", None)

    assert telemetry.start("web") is None

    (record,) = caplog.records
    assert "requirements-otel.txt" in record.getMessage()


def test_a_protocol_that_is_not_spoken_is_said_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")

    assert telemetry.start("web") is None

    assert "'grpc'" in caplog.text
