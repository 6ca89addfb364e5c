"""Whether only this machine can call us, and whether callers need a key."""

from django.conf import settings

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


def is_local_only() -> bool:
    """Whether the web server listens on loopback only, and no proxy brings others to it."""
    return settings.MAGI_HOST in LOOPBACK_HOSTS and settings.MAGI_TLS == "off"


def is_open() -> bool:
    """Whether callers need no key: `off`, or `auto` while only this machine can call."""
    if settings.MAGI_API_AUTH == "auto":
        return is_local_only()
    return bool(settings.MAGI_API_AUTH == "off")
