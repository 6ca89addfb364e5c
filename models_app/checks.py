"""System checks of the scan roots."""

import os
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register


@register()
def check_scan_path(**_kwargs: Any) -> list[CheckMessage]:
    """Every folder of MODEL_SCAN_PATH exists and can be read."""
    messages: list[CheckMessage] = []
    for path in settings.MODEL_SCAN_PATH:
        if not path.is_dir():
            problem = "is not a folder"
        elif not os.access(path, os.R_OK | os.X_OK):
            problem = "cannot be read"
        else:
            continue
        messages.append(
            Warning(
                f"MODEL_SCAN_PATH: {path} {problem}.",
                hint=f"Separate several folders with {os.pathsep!r}; they are only read.",
                id="models_app.W001",
            )
        )
    return messages
