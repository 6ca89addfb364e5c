"""Pass one request to a llama-server, and its answer back as it comes."""

import io
import json
import logging
from collections.abc import Callable
from typing import Final

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from servers_app.gateway.asgi import ClientWatch, Exchange, Header
from servers_app.gateway.bodies import ModelField, with_model
from servers_app.gateway.errors import (
    GatewayError,
    NotReachedError,
    UpstreamError,
    UpstreamTimeoutError,
)
from servers_app.gateway.routes import Choice
from servers_app.gateway.usage import Usage
from servers_app.gateway.waiting import Search

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
FIRST_BYTE_TIMEOUT_S = 600.0  # of silence, also later in a stream; llama-server pings each 30 s
KEEPALIVE_S = 3.0  # llama-server closes an idle connection after 5
# A request that was sent may be what brought its server down, so it is not shown to all.
MAX_RESENDS = 1
_STREAMED_BODY_BYTES = 2**20  # aiohttp warns of larger bytes objects, and sends files in pieces

HOP_BY_HOP: Final = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
        b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
# Credentials and what a browser adds are the gateway's business. X-Conversation-Id
# would have llama-server go on generating for a client that left.
REQUEST_ONLY: Final = HOP_BY_HOP | {
    b"accept-encoding", b"authorization", b"content-length", b"cookie", b"expect", b"host",
    b"origin", b"x-api-key", b"x-conversation-id",
}  # fmt: skip
RESPONSE_ONLY: Final = HOP_BY_HOP | {b"date", b"server", b"set-cookie"}


class Relay:
    """The connections to all llama-servers.

    Made inside the running event loop; `close()` when done.
    """

    def __init__(self, usage: Usage, lose: Callable[[int], None]) -> None:
        """Take whom to tell of a server that takes no connection, or breaks one off."""
        self._usage = usage
        self._lose = lose
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=FIRST_BYTE_TIMEOUT_S
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def close(self) -> None:
        await self._session.close()

    async def relay(
        self, exchange: Exchange, body: bytes, field: ModelField, search: Search
    ) -> None:
        """Answer `exchange` with what a server that `search` finds says.

        Raises:
            NoRouteError: as the search has it.
            UpstreamError: no server was reached, or it went away before it answered.
            UpstreamTimeoutError: a server was reached and said nothing.
            ClientGoneError: the client left; the upstream connection is closed.
        """
        with ClientWatch(exchange.receive):
            is_whole = await self._try_servers(exchange, body, field, search)
        if is_whole:
            await exchange.end()

    async def _try_servers(
        self, exchange: Exchange, body: bytes, field: ModelField, search: Search
    ) -> bool:
        lost: set[int] = set()
        resends = 0
        choice = await search.first()
        while True:
            server_id = choice.replica.server_id
            try:
                with self._usage.relaying(server_id):
                    response = await self._open(exchange, body, field, choice)
                    return await self._pass_back(exchange, response, choice)
            except NotReachedError as error:
                failure = error
            self._lose(server_id)
            if server_id not in lost:
                logger.warning("%s (request %s)", failure, exchange.request_id)
            lost.add(server_id)
            resends += failure.was_sent
            if resends > MAX_RESENDS:
                raise failure
            choice = await search.another(server_id, failure)

    async def _open(
        self, exchange: Exchange, body: bytes, field: ModelField, choice: Choice
    ) -> aiohttp.ClientResponse:
        """Send the request and wait for the head of the answer."""
        route, replica = choice
        data = with_model(body, field, replica.upstream_model)
        query = f"?{exchange.query.decode()}" if exchange.query else ""
        try:
            response = await self._session.post(
                URL(f"{replica.base_url}{exchange.path}{query}", encoded=True),
                data=data if len(data) < _STREAMED_BODY_BYTES else io.BytesIO(data),
                headers=_request_headers(exchange.headers, replica.api_key),
                allow_redirects=False,
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            reason = "was not reached"
            raise NotReachedError(route.model_id, reason, was_sent=False) from error
        except aiohttp.ServerTimeoutError as error:
            raise UpstreamTimeoutError(route.model_id, FIRST_BYTE_TIMEOUT_S) from error
        except aiohttp.ClientResponseError as error:
            raise UpstreamError(route.model_id, "did not answer in HTTP") from error
        except aiohttp.ClientError as error:
            reason = "went away before it answered"
            raise NotReachedError(route.model_id, reason, was_sent=True) from error
        if response.status == 401:
            # Our key, not the client's: passed on, it would send people to the wrong place.
            response.close()
            raise UpstreamError(route.model_id, "refused the key that MAGI holds for it")
        return response

    async def _pass_back(
        self, exchange: Exchange, response: aiohttp.ClientResponse, choice: Choice
    ) -> bool:
        """Send the client all but the end of the answer; tell whether it came whole."""
        is_event_stream = response.content_type == "text/event-stream"
        piece = b""
        try:
            await exchange.start(
                response.status,
                _response_headers(response, choice, is_event_stream=is_event_stream),
            )
            async for piece in response.content.iter_any():
                await exchange.write(piece)
        except (aiohttp.ClientError, TimeoutError) as error:
            self._lose(choice.replica.server_id)
            failure = _broken(error, choice.route.model_id)
            logger.warning("%s (request %s)", failure, exchange.request_id)
            if not is_event_stream:
                return False  # uvicorn then cuts the connection: a short answer shows as one
            await exchange.write(_error_event(failure, after=piece))
        finally:
            response.close()  # nothing, if it was read to its end
        return True


def _broken(error: Exception, model_id: str) -> GatewayError:
    if isinstance(error, TimeoutError):
        return UpstreamTimeoutError(model_id, FIRST_BYTE_TIMEOUT_S)
    return UpstreamError(model_id, "went away in the middle of its answer")


def _error_event(failure: GatewayError, *, after: bytes) -> bytes:
    """Return the last event of a stream whose last bytes were `after`."""
    is_between_events = not after or after.endswith((b"\n\n", b"\r\n\r\n"))
    event = b"data: %s\n\n" % json.dumps(failure.body()).encode()
    return event if is_between_events else b"\n\n" + event


def _request_headers(headers: list[Header], api_key: str) -> CIMultiDict[str]:
    dropped = REQUEST_ONLY | _named_by_connection(headers)
    passed = CIMultiDict(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in headers
        if name not in dropped
    )
    passed["Authorization"] = f"Bearer {api_key}"
    passed["Accept-Encoding"] = "identity"
    return passed


def _response_headers(
    response: aiohttp.ClientResponse, choice: Choice, *, is_event_stream: bool
) -> list[Header]:
    headers = [(name.lower(), value) for name, value in response.raw_headers]
    dropped = RESPONSE_ONLY | _named_by_connection(headers)
    if is_event_stream:
        dropped |= {b"content-length"}  # there must be room for an error event
    passed = [
        header
        for header in headers
        if header[0] not in dropped
        and not header[0].startswith((b"access-control-", b"x-magi-"))
    ]
    passed.append((b"x-magi-model", choice.route.model_id.encode()))
    if choice.route.tier:
        passed.append((b"x-magi-tier", choice.route.tier.encode()))
    return passed


def _named_by_connection(headers: list[Header]) -> frozenset[bytes]:
    """Return the names that a Connection header makes hop-by-hop."""
    return frozenset(
        token.strip().lower()
        for name, value in headers
        if name == b"connection"
        for token in value.split(b",")
    )
