"""Pass one request to a llama-server, and its answer back as it comes."""

import logging
import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from servers_app.gateway.asgi import ClientWatch, Exchange
from servers_app.gateway.bodies import ModelField, with_model
from servers_app.gateway.comments import as_event
from servers_app.gateway.errors import (
    ClientGoneError,
    GatewayError,
    NotReachedError,
    UpstreamError,
    UpstreamTimeoutError,
)
from servers_app.gateway.filters import Filter, MakeFilter, Tap
from servers_app.gateway.headers import Header, ours, to_client, to_server
from servers_app.gateway.http1 import (
    Connection,
    CutOffError,
    Timeouts,
    WireError,
    post_head,
)
from servers_app.gateway.pool import Pool
from servers_app.gateway.routes import Choice, Replica
from servers_app.gateway.trace import Outcome, Trace
from servers_app.gateway.unanswered import Resends, broken_off, unanswered
from servers_app.gateway.usage import Relaying, Usage
from servers_app.gateway.waiting import Search

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUTS: Final = Timeouts()
EVENT_STREAM: Final = "text/event-stream"
_BODILESS: Final = (204, 304)
_COMMENT: Final = b":"  # of server-sent events; no JSON begins so
_SEQUENCE_NUMBER: Final = re.compile(rb'"sequence_number":\s*([0-9]{1,15})')

Tell = Callable[[int], None]  # takes a server id
TellOf = Callable[[Replica], None]


def _tell_nobody(_server: object) -> None:
    pass


class Answer:
    """What a llama-server says, as it comes: iterate over its pieces."""

    def __init__(
        self, relay: "Relay", connection: Connection, choice: Choice, trace: Trace
    ) -> None:
        self.choice = choice
        self.trace = trace
        self.status = connection.status
        self.headers = connection.headers  # names in lower case
        fields = dict(self.headers)
        content_type = fields.get(b"content-type", b"").partition(b";")[0]
        self.content_type = content_type.strip().lower().decode("latin-1")
        self.is_encoded = fields.get(b"content-encoding", b"identity") != b"identity"
        self._relay = relay
        self._connection = connection
        trace.status = self.status
        trace.model_id = choice.route.model_id
        trace.server_id = choice.replica.server_id
        trace.tier = choice.route.tier or ""
        trace.reason = choice.reason

    @property
    def has_come(self) -> bool:
        """Whether all of it is there, to be read without waiting."""
        return self._connection.is_complete

    @property
    def is_complete(self) -> bool:
        """Whether there is no piece to come."""
        return self._connection.is_read

    def __aiter__(self) -> "Answer":
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece.

        Raises:
            UpstreamError: the server went away in the middle of its answer.
            UpstreamTimeoutError: it fell silent.
        """
        try:
            piece = await self._connection.read()
        except WireError as error:
            self.trace.outcome = Outcome.BROKEN
            raise self._relay.broken(error, self.choice) from error
        # Of a stream the head comes before the prompt is read, and comments that it goes on.
        if self.trace.first_byte_s is None and not piece.startswith(_COMMENT):
            self.trace.first_byte_s = self.trace.elapsed_s()
        if self._connection.is_read:
            self.trace.outcome = _outcome(self.status)
        if not piece:
            raise StopAsyncIteration
        return piece


class Relay:
    """The way to all llama-servers.

    Made inside the running event loop; `close()` when done.
    """

    def __init__(
        self,
        usage: Usage,
        lose: Tell,
        *,
        won: Tell = _tell_nobody,
        failed: Tell = _tell_nobody,
        cut_off: TellOf = _tell_nobody,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        """Take whom to tell of servers.

        Args:
            lose: of one that takes no connection, or breaks one off.
            won: of one whose answer begins as it should.
            failed: of one that is lost, says nothing, or answers that it failed.
            cut_off: of one whose host is not there, in place of `failed`.
        """
        self._usage = usage
        self._lose = lose
        self._won = won
        self._failed = failed
        self._cut_off = cut_off
        self._pool = Pool(timeouts)

    async def close(self) -> None:
        self._pool.close()

    async def relay(  # noqa: PLR0913 - the request in its parts, and what looks on
        self,
        exchange: Exchange,
        body: bytes,
        field: ModelField,
        search: Search,
        trace: Trace,
        *,
        make_filter: MakeFilter | None = None,
        tap: Tap | None = None,
    ) -> None:
        """Answer `exchange` with what a server that `search` finds says.

        Raises:
            NoRouteError: as the search has it.
            UpstreamError: no server was reached, or it went away before it answered.
            UpstreamTimeoutError: a server was reached and said nothing.
            ClientGoneError: the client left; the upstream connection is closed.
        """
        target = exchange.path
        if exchange.query:
            target = f"{target}?{exchange.query.decode('latin-1')}"
        opened = self.opened(target, body, field, search, trace, headers=exchange.headers)
        try:
            with ClientWatch(exchange.receive):
                async with opened as answer:
                    last = await _pass_back(exchange, answer, make_filter, tap)
        except GatewayError as error:
            note_error(trace, error)
            raise
        if last is not None:
            await exchange.end(last)

    def opened(
        self,
        target: str,
        body: bytes,
        field: ModelField,
        search: Search,
        trace: Trace,
        *,
        headers: Iterable[Header] = ((b"content-type", b"application/json"),),
    ) -> "Opened":
        """Return the block in which a server's answer to a request comes.

        Args:
            target: a path, and maybe a query.
            headers: of the client; what must not pass does not.

        Raises: as `relay`, but for ClientGoneError.
        """
        return Opened(self, _Request(target, list(headers), body, field), search, trace)

    async def send(
        self, request: "_Request", search: Search, trace: Trace
    ) -> tuple[Choice, Connection, Relaying]:
        """Send a request to the servers that `search` finds, until one answers.

        Returns:
            The server, the connection to it, and what ends when the answer is over.
        """
        lost: set[int] = set()
        resends = Resends()
        choice = await search.first()
        while True:
            server_id = choice.replica.server_id
            relaying = self._usage.relaying(server_id)
            relaying.__enter__()
            try:
                return choice, await self._open(request, choice, trace), relaying
            except NotReachedError as error:
                failure = error
                relaying.__exit__(NotReachedError)
                if trace.spans is not None:
                    trace.spans.lost(failure)
            except BaseException as error:
                relaying.__exit__(type(error))
                raise
            self._lose(server_id)
            if server_id not in lost:
                logger.warning("%s (request %s)", failure.message, trace.request_id)
            lost.add(server_id)
            if not resends.allow(failure, server_id):
                raise failure
            choice = await search.another(server_id, failure)
            trace.retries += 1

    def release(self, connection: Connection) -> None:
        self._pool.release(connection)

    def broken(self, error: WireError, choice: Choice) -> GatewayError:
        """Return what to say of an answer that broke off, and tell of its server."""
        self._lose(choice.replica.server_id)
        self._note_failure(error, choice.replica)
        return broken_off(error, choice)

    def _note_failure(self, error: WireError, replica: Replica) -> None:
        if isinstance(error, CutOffError):
            self._cut_off(replica)
        else:
            self._failed(replica.server_id)

    async def _open(self, request: "_Request", choice: Choice, trace: Trace) -> Connection:
        """Send the request and wait for the head of the answer."""
        route, replica = choice.route, choice.replica
        data = with_model(request.body, request.field, replica.upstream_model)
        headers = to_server(request.headers, replica.api_key)
        headers.append((b"x-request-id", trace.request_id.encode()))
        if trace.spans is not None:
            headers = trace.spans.asking(choice, headers, trace)
        head = post_head(replica.base_url, request.target, headers, len(data))
        try:
            connection = await self._pool.ask(replica.base_url, head, data)
        except WireError as error:
            self._note_failure(error, replica)
            raise unanswered(error, choice) from error
        if connection.status == 401:
            # Our key, not the client's: passed on, it would send people to the wrong place.
            connection.abort()
            self._failed(replica.server_id)
            raise UpstreamError(route.model_id, "refused the key that MAGI holds for it")
        try:
            tell = self._failed if await _is_failure(connection) else self._won
        except BaseException:
            connection.abort()  # the client has left, and nobody else knows of it
            raise
        tell(replica.server_id)
        return connection


class _Request(NamedTuple):
    target: str
    headers: list[Header]  # of the client
    body: bytes
    field: ModelField


class Opened:
    """The block in which a server's answer comes. No generator: each request has one."""

    __slots__ = ("_connection", "_relay", "_relaying", "_request", "_search", "_trace")

    def __init__(self, relay: Relay, request: _Request, search: Search, trace: Trace) -> None:
        self._relay = relay
        self._request = request
        self._search = search
        self._trace = trace

    async def __aenter__(self) -> Answer:
        choice, self._connection, self._relaying = await self._relay.send(
            self._request, self._search, self._trace
        )
        return Answer(self._relay, self._connection, choice, self._trace)

    async def __aexit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        try:
            self._relay.release(self._connection)
        finally:
            self._relaying.__exit__(kind)


def note_error(trace: Trace, error: GatewayError) -> None:
    """Write down how a request ended that was not answered by a server."""
    trace.error_code = error.code or ""
    if isinstance(error, ClientGoneError):
        trace.outcome = Outcome.CLIENT_GONE
    else:
        trace.status = error.status
        trace.outcome = _outcome(error.status)


async def _pass_back(
    exchange: Exchange, answer: Answer, make_filter: MakeFilter | None, tap: Tap | None
) -> bytes | None:
    """Send the client all but the last piece of the answer; return that.

    None: the answer broke off, and the client is to see that it did.
    """
    is_event_stream = answer.content_type == EVENT_STREAM
    if exchange.started and not is_event_stream:
        whole = b"".join([piece async for piece in answer])
        return as_event(whole, exchange.path)
    filtered = None
    if make_filter is not None and not answer.is_encoded:
        filtered = make_filter(answer.content_type)
    sent = b""
    try:
        if answer.has_come and not is_event_stream and not exchange.started:
            return await _pass_whole(exchange, answer, filtered, tap)
        if not exchange.started:
            # In a stream there must be room for an error event.
            has_length = not (filtered or is_event_stream or answer.status in _BODILESS)
            headers = to_client(answer.headers, has_length=has_length)
            await exchange.start(answer.status, headers + ours(answer.trace))
        async for piece in answer:
            if tap is not None:
                tap(piece)
            passed = piece if filtered is None else filtered.feed(piece)
            if answer.is_complete:
                return passed + filtered.finish() if filtered is not None else passed
            if passed:
                await exchange.write(passed)
                sent = passed
    except (UpstreamError, UpstreamTimeoutError) as failure:
        logger.warning("%s (request %s)", failure, exchange.request_id)
        answer.trace.error_code = failure.code or ""
        if not is_event_stream:
            return None  # uvicorn then cuts the connection: a short answer shows as one
        held = filtered.finish() if filtered is not None else b""
        return held + _last_event(failure, exchange.path, after=held or sent)
    return filtered.finish() if filtered is not None else b""


async def _pass_whole(
    exchange: Exchange, answer: Answer, filtered: Filter | None, tap: Tap | None
) -> bytes:
    """Send the head of an answer that is there already, and return its body."""
    body = b"".join([piece async for piece in answer])
    if tap is not None:
        tap(body)
    if filtered is not None:
        body = filtered.feed(body) + filtered.finish()
    headers = to_client(answer.headers, has_length=False)
    if answer.status not in _BODILESS:
        headers.append((b"content-length", b"%d" % len(body)))
    await exchange.start(answer.status, headers + ours(answer.trace))
    return body


def _last_event(failure: GatewayError, path: str, *, after: bytes) -> bytes:
    """Return the error event of a stream whose last bytes were `after`."""
    numbers = _SEQUENCE_NUMBER.findall(after)
    event = failure.event_for(path, int(numbers[-1]) + 1 if numbers else 0)
    is_between_events = not after or after.endswith((b"\n\n", b"\r\n\r\n"))
    return event if is_between_events else b"\n\n" + event


def _outcome(status: int) -> Outcome:
    if status < 400:
        return Outcome.OK
    return Outcome.REFUSED if status < 500 else Outcome.FAILED


async def _is_failure(connection: Connection) -> bool:
    """Whether a status speaks against the server.

    Not 501, which is for what a model cannot do; nor 503 from one that is loading, which
    the table will show soon.
    """
    if connection.status != 503:
        return connection.status >= 500 and connection.status != 501
    try:
        return b"Loading model" not in await connection.peek()
    except WireError:
        return True
