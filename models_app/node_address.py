"""Where what this node opens for others listens: its servers, and files that are copied."""

import ipaddress
from typing import Final

from django.conf import settings

LOOPBACK: Final = "127.0.0.1"


def host_to_bind() -> str:
    """Return where this node listens: loopback, unless others reach it."""
    address: str = settings.MAGI_NODE_ADDRESS
    return LOOPBACK if is_loopback(address) else address


def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address.lower() == "localhost"


def url_of(host: str, port: int) -> str:
    """Return the address of a server.

    >>> url_of("fd00::2", 8180)
    'http://[fd00::2]:8180'
    """
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
