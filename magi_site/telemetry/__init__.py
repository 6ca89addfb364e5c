"""Traces by OpenTelemetry, where OTEL_EXPORTER_OTLP_ENDPOINT names who takes them.

Without, nothing of it is imported. All else is said by OpenTelemetry's own variables.
"""

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from celery import signals

if TYPE_CHECKING:
    from servers_app.gateway.spans import Spans

logger = logging.getLogger(__name__)

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
SPOKEN: Final = "http/protobuf"


class Telemetry(Protocol):
    """What sends the spans of this process."""

    def spans(self) -> "Spans": ...

    def close(self) -> None:
        """Send what is left. It may take as long as OTEL_EXPORTER_OTLP_TIMEOUT says."""


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether somebody is to get traces."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "otlp").strip() not in {"otlp", ""}:
        return False
    return any(environment.get(name, "").strip() for name in ENDPOINTS)


def start(part: str) -> Telemetry | None:
    """Begin to trace what this process does, if somebody is to get it; else return None.

    Args:
        part: of MAGI: web or worker. It ends the service's name, unless OTEL_SERVICE_NAME
            gives one.
    """
    if not is_wanted(os.environ):
        return None
    for name in PROTOCOLS:
        if (given := os.environ.get(name, "").strip()) not in {"", SPOKEN}:
            logger.warning("%s is %r, and only %s is spoken: no traces.", name, given, SPOKEN)
            return None
    try:
        from magi_site.telemetry.exporting import Exporting  # noqa: PLC0415 - optional
    except ImportError as error:
        logger.warning(
            "An OTLP endpoint is set, and OpenTelemetry is not there (%s): no traces. "
            "Install requirements-otel.txt, or unset %s.",
            error,
            ENDPOINTS[0],
        )
        return None
    return Exporting(part)


def trace_in_workers() -> None:
    """Have the Celery worker of this process trace its tasks, if it is one."""
    running: list[Telemetry] = []

    def begin(**_signal: Any) -> None:
        if not running and (telemetry := start("worker")) is not None:
            running.append(telemetry)

    def end(**_signal: Any) -> None:
        while running:
            running.pop().close()

    signals.celeryd_after_setup.connect(begin, weak=False)
    signals.worker_shutdown.connect(end, weak=False)
