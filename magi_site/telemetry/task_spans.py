"""The spans of Celery tasks: one where a task is queued, and one where it is done.

What is queued by a clock is in no trace, else an idle MAGI would send some without end: a
worker leaves out what the clock of its node queues (servers_app/node_clock.py), and beat does
not trace. A worker goes on only with what a message names. docs/observability.md
"""

from typing import Any, Final

from celery import signals
from django.conf import settings
from opentelemetry import context as contexts
from opentelemetry import propagate
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)

from models_app.request_ids import current_request_id
from models_app.task_signals import header_of

_ATTRIBUTES: Final = {"messaging.system": "celery"}


class TracedTasks:
    """Traces what tasks this process queues and does, from `connect` to `disconnect`."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._running: dict[str, tuple[Span, Any]] = {}  # by task id, with what detaches it

    def connect(self) -> None:
        signals.before_task_publish.connect(self._on_publish, weak=False)
        signals.task_prerun.connect(self._on_start, weak=False)
        signals.task_postrun.connect(self._on_end, weak=False)

    def disconnect(self) -> None:
        signals.before_task_publish.disconnect(self._on_publish)
        signals.task_prerun.disconnect(self._on_start)
        signals.task_postrun.disconnect(self._on_end)

    def _on_publish(
        self, sender: Any = None, *, headers: dict[str, Any] | None = None, **_signal: Any
    ) -> None:
        """Name this process's span in the message: the worker goes on from there."""
        if headers is None or _is_by_the_clock(str(sender)):
            return
        span = self._tracer.start_span(
            f"queue {sender}", kind=SpanKind.PRODUCER, attributes=_about(str(sender), headers)
        )
        propagate.inject(headers, set_span_in_context(span))
        span.end()

    def _on_start(self, *, task_id: str, task: Any, **_signal: Any) -> None:
        fields = propagate.get_global_textmap().fields
        given = {name: value for name in fields if (value := header_of(task, name))}
        if not given:
            return
        parent = propagate.extract(given)
        span = self._tracer.start_span(
            f"do {task.name}",
            parent,
            kind=SpanKind.CONSUMER,
            attributes=_about(task.name, {"id": task_id}),
        )
        token = contexts.attach(set_span_in_context(span))
        self._running[task_id] = span, token

    def _on_end(self, *, task_id: str, state: str | None = None, **_signal: Any) -> None:
        found = self._running.pop(task_id, None)
        if found is None:
            return
        span, token = found
        contexts.detach(token)
        if state == "FAILURE":
            span.set_status(Status(StatusCode.ERROR))
        span.end()


def _is_by_the_clock(name: str) -> bool:
    """Whether a task is queued because it is due, and on no request's or task's account."""
    is_for_somebody = get_current_span().get_span_context().is_valid or current_request_id()
    return name in settings.NODE_SCHEDULE and not is_for_somebody


def _about(name: str, headers: dict[str, Any]) -> dict[str, str]:
    attributes = {**_ATTRIBUTES, "messaging.operation.name": name}
    if task_id := headers.get("id"):
        attributes["messaging.message.id"] = str(task_id)
    if request_id := current_request_id():
        attributes["magi.request_id"] = request_id
    return attributes
