"""System checks of the whole site."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from magi_site.exposure import is_local_only

MIN_SECRET_KEY_CHARS = 32


@register(Tags.security)
def check_exposure(**_kwargs: Any) -> list[CheckMessage]:
    """What is tolerable on loopback is not beyond it."""
    if is_local_only():
        return []
    messages: list[CheckMessage] = []
    if len(settings.SECRET_KEY) < MIN_SECRET_KEY_CHARS:
        messages.append(
            Error(
                f"MAGI listens on {settings.MAGI_HOST} with a guessable secret key.",
                hint="Unset MAGI_SECRET_KEY to have one made, or set 32 characters or more.",
                id="magi_site.E001",
            )
        )
    if settings.DEBUG:
        messages.append(
            Error(
                f"MAGI listens on {settings.MAGI_HOST} with MAGI_DEBUG on.",
                hint="Unset MAGI_DEBUG: its error pages show settings to anybody.",
                id="magi_site.E002",
            )
        )
    if settings.MAGI_API_AUTH == "off":
        messages.append(
            Warning(
                f"MAGI listens on {settings.MAGI_HOST}, and MAGI_API_AUTH=off opens it to all.",
                hint="Make sure that only trusted machines reach the port.",
                id="magi_site.W001",
            )
        )
    return messages
