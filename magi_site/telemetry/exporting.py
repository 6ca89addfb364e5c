"""OpenTelemetry's SDK, set up for one process. Imported only where traces are wanted."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from magi_site.telemetry.request_spans import TracedRequests
from magi_site.telemetry.task_spans import TracedTasks
from models_app import tracing
from models_app.request_ids import current_request_id
from models_app.tracing import Attribute


class Exporting:
    """Sends the spans of this process: `Telemetry`. One in a process."""

    def __init__(self, part: str) -> None:
        named = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        attributes: dict[str, Attribute] = {
            "service.version": settings.MAGI_VERSION,
            "service.namespace": "magi",
            "service.instance.id": f"{settings.MAGI_NODE}-{part}-{os.getpid()}",
            "magi.node": settings.MAGI_NODE,
        }
        if not os.environ.get("OTEL_SERVICE_NAME") and f"{SERVICE_NAME}=" not in named:
            attributes[SERVICE_NAME] = f"magi-{part}"
        # Which are sampled, how many are kept and where they go, the SDK reads by itself.
        self._provider = TracerProvider(
            resource=Resource.create(attributes), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("magi", settings.MAGI_VERSION)
        self._tasks = TracedTasks(self._tracer)
        self._tasks.connect()
        tracing.set_tracer(self)

    def spans(self) -> TracedRequests:
        return TracedRequests(self._tracer)

    @contextmanager
    def span(self, name: str, attributes: dict[str, Attribute]) -> Iterator[None]:
        """Give a block as `models_app.tracing` has it."""
        attributes = {f"magi.{key}": value for key, value in attributes.items()}
        if request_id := current_request_id():
            attributes["magi.request_id"] = request_id
        with self._tracer.start_as_current_span(name, attributes=attributes):
            yield

    def close(self) -> None:
        """Stop tracing, and send what is left."""
        tracing.set_tracer(None)
        self._tasks.disconnect()
        self._provider.shutdown()
