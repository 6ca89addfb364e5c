"""The API key of each llama-server, derived rather than stored.

A llama-server reflects any web page's Origin, so an open one could be driven by
any site. Its key is a MAC of the server's number under SECRET_KEY: every process
of MAGI knows it, and no database, file or argv holds it.
"""

from django.utils.crypto import salted_hmac


def server_key(server_id: int) -> str:
    """Return the key of the server with this primary key, 64 hex digits."""
    return salted_hmac("servers_app.keys", str(server_id), algorithm="sha256").hexdigest()
