"""Whether the host at the other end of a connection is still there, as the kernel knows it.

A server may think for minutes before it says a word, but its kernel acknowledges what it is
sent, and answers keep-alive probes, within milliseconds. One that does neither is cut off: its
network is down, or its machine has no power. No packet tells of that.

TCP_USER_TIMEOUT would do for the first half, but it also ends connections to a server that is
there and does not read: a large body then stands in a window that is closed. So the kernel is
asked instead, and only of requests that nothing has come of for some seconds.
"""

import asyncio
import errno
import socket
import struct
from functools import lru_cache
from typing import Any, Final, Protocol

CUT_OFF_S: Final = 4.0  # without an acknowledgement, of four retransmissions by then
IDLE_S: Final = 2  # of silence, before the first probe
PROBE_S: Final = 1
PROBES: Final = 3  # without an answer

# Of `struct tcp_info` in linux/tcp.h, which only ever grows at its end.
_TCP_INFO: Final = struct.Struct("=8B24I4Q3I")
_PROBES, _UNACKED, _LAST_ACK_MS, _UNSENT = 3, 12, 20, 38  # tcpi_probes, tcpi_unacked and so on
# A closed window is probed at intervals that double; one answer may be left out, as there is a
# limit to how many a kernel gives in a second.
_PROBES_LOST: Final = 2
_HAS_TCP_INFO: Final = hasattr(socket, "TCP_INFO")
_HAS_KEEPIDLE: Final = hasattr(socket, "TCP_KEEPIDLE")
_HAS_USER_TIMEOUT: Final = hasattr(socket, "TCP_USER_TIMEOUT")
_LAG_S: Final = 5.0  # of an event loop that has too much to do
_CUT_OFF: Final = frozenset(
    {
        errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH,
        errno.ENETDOWN,
    }
)  # fmt: skip


class Socket(Protocol):
    """A TCP socket, as an event loop lets others have it."""

    def setsockopt(self, level: int, option: int, value: int, /) -> None: ...

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...


async def connected(host: str, port: int, timeout_s: float) -> socket.socket:
    """Return a socket that is connected.

    The kernel keeps the time, where it can: an event loop that has too much to do for a moment
    would take it for a network that is cut.

    Raises:
        OSError: nobody takes the connection; one of which `is_cut_off` holds: in time.
    """
    loop = asyncio.get_running_loop()
    literal = _literal(host, port)
    found = await _looked_up(loop, host, port, timeout_s) if literal is None else [literal]
    failure: OSError = OSError(f"{host!r} has no address")
    for one in found:
        try:
            return await _connected(loop, one, timeout_s)
        except OSError as error:
            failure = error
    raise failure


async def _looked_up(
    loop: asyncio.AbstractEventLoop, host: str, port: int, timeout_s: float
) -> list[Any]:
    """Return family and address of each place that a name stands for. Raises: OSError."""
    try:
        async with asyncio.timeout(timeout_s + _LAG_S):
            places = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # no name that could be asked for
        message = f"{host!r} is not the name of a host"
        raise OSError(message) from error
    return [(family, address) for family, *_, address in places]


async def _connected(
    loop: asyncio.AbstractEventLoop, where: Any, timeout_s: float
) -> socket.socket:
    family, address = where
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(0)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if _HAS_USER_TIMEOUT:
            _give_up_after(connection, timeout_s)
        async with asyncio.timeout(timeout_s + (_LAG_S if _HAS_USER_TIMEOUT else 0)):
            await loop.sock_connect(connection, address)
        if _HAS_USER_TIMEOUT:
            _give_up_after(connection, 0)  # that was for the handshake; see above
    except BaseException:
        connection.close()
        raise
    return connection


def _give_up_after(connection: socket.socket, seconds: float) -> None:
    """Have the kernel do so when nothing is acknowledged; 0: when it thinks best."""
    milliseconds = round(seconds * 1000)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


@lru_cache(maxsize=1024)
def _literal(host: str, port: int) -> tuple[int, tuple[str, int]] | None:
    """Return family and address of what is no name, and need not be looked up."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return family, (host, port)
    return None


def keep_probed(connection: Socket) -> None:
    """Have the kernel probe a silent connection, and end it with ETIMEDOUT if it is cut off.

    It takes IDLE_S + PROBES * PROBE_S, or what the system has for it where these cannot be set.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in probing().items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def probing() -> dict[int, int]:
    """Return when the kernel is to probe, as TCP's options have it."""
    if not _HAS_KEEPIDLE:
        return {}
    return {
        socket.TCP_KEEPIDLE: IDLE_S,
        socket.TCP_KEEPINTVL: PROBE_S,
        socket.TCP_KEEPCNT: PROBES,
    }


def is_unheard(connection: Socket) -> bool | None:
    """Whether nothing that was sent has been acknowledged for CUT_OFF_S.

    Keep-alive probes do not tell: there are none while something waits to be acknowledged.

    Returns:
        None: all of it has been. False, too, where the system does not tell.
    """
    if not _HAS_TCP_INFO:
        return False
    told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    if len(told) < _TCP_INFO.size:
        return False
    info = _TCP_INFO.unpack(told)
    if not (info[_UNACKED] or info[_UNSENT]):
        return None
    is_unanswered = info[_UNACKED] > 0 or info[_PROBES] >= _PROBES_LOST
    return is_unanswered and bool(info[_LAST_ACK_MS] >= CUT_OFF_S * 1000)


def is_cut_off(error: BaseException | None) -> bool:
    """Whether that is how a connection ends whose other end is not there any more."""
    return isinstance(error, OSError) and (
        error.errno in _CUT_OFF or isinstance(error, TimeoutError)
    )
