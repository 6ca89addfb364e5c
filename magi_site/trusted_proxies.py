"""Whose word counts for a client's address, and for https: that of our own proxies alone.

Whoever else sends X-Forwarded-For would choose the address that sign-ins are counted for.
"""

import ipaddress
from collections.abc import Sequence
from typing import Any, Final, cast

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from magi_site.bodies import Application
from servers_app.gateway.asgi import Receive, Scope, Send

_PEER: Final = "magi.peer"  # in the scope: the proxy's own address


class TrustedProxies:
    """Has `application` believe X-Forwarded-For and -Proto, where a proxy of ours says so.

    What a client made its proxy pass on, and is no address, is not believed: it goes into
    columns that hold addresses.
    """

    def __init__(self, application: Application, trusted: Sequence[str]) -> None:
        self._application = application
        self._middleware = ProxyHeadersMiddleware(cast("Any", self._seen), list(trusted))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[_PEER] = scope.get("client")
        await self._middleware(cast("Any", scope), cast("Any", receive), cast("Any", send))

    async def _seen(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if client is not None and client != scope[_PEER] and not _is_address(client[0]):
            scope["client"] = scope[_PEER]
        await self._application(scope, receive, send)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # a zone is of the proxy's own, and no column holds it
