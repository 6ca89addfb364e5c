"""System checks of the whole site."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from magi_site.exposure import is_local_only
from profiles_app.extraargs import never_allowed

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


@register(Tags.security)
def check_hosts(**_kwargs: Any) -> list[CheckMessage]:
    """A page that points its own name here is told apart by that name alone."""
    if "*" not in settings.ALLOWED_HOSTS:
        return []
    return [
        Warning(
            "MAGI_ALLOWED_HOSTS=* lets every web page reach MAGI, by DNS rebinding.",
            hint="List the names under which MAGI is called.",
            id="magi_site.W003",
        )
    ]


@register(Tags.security)
def check_extra_args(**_kwargs: Any) -> list[CheckMessage]:
    """What MAGI sets itself, and what ends a server, is nobody's to allow."""
    refused = sorted(never_allowed(settings.MAGI_ALLOWED_EXTRA_ARGS))
    if not refused:
        return []
    return [
        Error(
            f"MAGI_ALLOWED_EXTRA_ARGS names what cannot be allowed: {', '.join(refused)}.",
            hint="MAGI sets these itself, or the server would end at once.",
            id="magi_site.E003",
        )
    ]


@register(Tags.security, deploy=True)
def check_tls(**_kwargs: Any) -> list[CheckMessage]:
    """Beyond this machine, passwords, keys and prompts are read by whoever listens in."""
    if settings.MAGI_TLS != "off" or is_local_only():
        return []
    return [
        Warning(
            f"MAGI listens on {settings.MAGI_HOST} without TLS.",
            hint="Put a proxy that speaks TLS before it, and set MAGI_TLS=proxy.",
            id="magi_site.W002",
        )
    ]
