"""What is told of one part of MAGI."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import models


class Health(models.TextChoices):
    """Of a part: whether it does all, some, or nothing of what it is there for."""

    HEALTHY = "healthy", "Healthy"
    DEGRADED = "degraded", "Degraded"
    UNAVAILABLE = "unavailable", "Unavailable"


@dataclass(frozen=True, slots=True)
class Component:
    """One part: a sentence on how it is, and its figures."""

    status: Health
    detail: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"status": self.status.value, "detail": self.detail, **self.figures}
