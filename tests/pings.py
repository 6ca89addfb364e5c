"""Workers that answer a ping, for tests that have none."""

import re
from collections.abc import Collection
from typing import Any


def pongs(
    *_arguments: object, pattern: str, away: Collection[str] = (), **_options: object
) -> list[dict[str, Any]]:
    """Answer in place of Control.broadcast, for every node that is asked but those `away`."""
    asked = pattern.removeprefix("(?:").removesuffix(")@").split("|")
    names = [re.sub(r"\\(.)", r"\1", name) for name in asked]
    return [{f"{name}@here": {"ok": "pong"}} for name in names if name not in away]
