"""Spans of what takes long, where somebody traces: else a block is a block and nothing more.

magi_site/telemetry/ says who traces; nobody below it knows OpenTelemetry.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

Attribute = str | int | float | bool


class Tracer(Protocol):
    def span(self, name: str, attributes: dict[str, Attribute]) -> AbstractContextManager[None]:
        """Return a block that is a span, within the span that is there."""


class _Process:
    tracer: Tracer | None = None


def span(name: str, **attributes: Attribute) -> AbstractContextManager[None]:
    """Return the block of a span; `name` is one of few, what is special is an attribute."""
    tracer = _Process.tracer
    return nullcontext() if tracer is None else tracer.span(name, attributes)


def set_tracer(tracer: Tracer | None) -> None:
    """Say who traces in this process; None: nobody."""
    _Process.tracer = tracer
