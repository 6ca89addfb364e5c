"""HTTP to hubs: redirects by hand, so that a token stays with the host it is for."""

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Final

import httpx2

from models_app.downloads.control import Control, TryAgainError
from models_app.errors import UnsupportedDownloadError

CONNECT_S: Final = 10.0
READ_S: Final = 20.0
MAX_REDIRECTS: Final = 5
MAX_TEXT_BYTES: Final = 4 * 2**20
RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
USER_AGENT: Final = "magi"

_USER: Final = re.compile(r"//[^/?#]*@")


def without_user(url: object) -> str:
    """Return an address as people may see it: without a name and password in it."""
    return _USER.sub("//", str(url))


def read_timeout_s() -> float:
    """Return for how long a hub may send nothing; HF_HUB_DOWNLOAD_TIMEOUT says otherwise."""
    with suppress(ValueError):
        return max(1.0, float(os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT") or READ_S))
    return READ_S


def make_client(*, is_direct: bool = False) -> httpx2.Client:
    """Return a client that follows nothing.

    Args:
        is_direct: ask a machine of ours itself, and not by way of HTTPS_PROXY and its like.
    """
    timeout = httpx2.Timeout(CONNECT_S, read=read_timeout_s())
    return httpx2.Client(
        timeout=timeout, follow_redirects=False, http2=False, trust_env=not is_direct
    )


@contextmanager
def opened(
    client: httpx2.Client,
    url: str,
    control: Control,
    *,
    headers: Mapping[str, str],
    token: str = "",
) -> Iterator[httpx2.Response]:
    """Ask for `url`, and give the answer with its body still to come.

    The token goes to the host of `url`, and to no other that it sends us to.

    Raises:
        TryAgainError: it cannot be reached, or what was begun has broken off.
        UnsupportedDownloadError: it sends us in a circle, or away from http(s).
    """
    try:
        response = _followed(client, httpx2.URL(url), dict(headers), token)
        try:
            stream = response.extensions.get("network_stream")
            control.reading(stream.get_extra_info("socket") if stream is not None else None)
            yield response
        finally:
            control.reading(None)
            response.close()
    except httpx2.InvalidURL as error:
        msg = f"{without_user(url)} is no address that can be asked."
        raise UnsupportedDownloadError(msg) from error
    except httpx2.RequestError as error:
        raise TryAgainError(_reason(error)) from error


def after_s(response: httpx2.Response) -> float:
    """Return for how long the hub wants to be left alone; it says that, or until when."""
    told = response.headers.get("Retry-After", "0")
    with suppress(ValueError):
        return max(0.0, float(told))
    with suppress(ValueError, OverflowError):
        return max(0.0, parsedate_to_datetime(told).timestamp() - time.time())
    return 0.0


def read_text(response: httpx2.Response) -> bytes:
    """Read a body that has to be small.

    Raises:
        UnsupportedDownloadError: it is longer than MAX_TEXT_BYTES.
    """
    body = b""
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MAX_TEXT_BYTES:
            who = without_user(response.url)
            msg = f"{who} answers with more than {MAX_TEXT_BYTES:,} bytes."
            raise UnsupportedDownloadError(msg)
    return body


def _followed(
    client: httpx2.Client, url: httpx2.URL, headers: dict[str, str], token: str
) -> httpx2.Response:
    first = _origin(url)
    for _ in range(MAX_REDIRECTS + 1):
        if url.scheme not in ("http", "https"):
            msg = f"The hub sends us to {url.scheme}://…, which is neither http nor https."
            raise UnsupportedDownloadError(msg)
        sent = headers | {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        if token and _origin(url) == first:
            sent["Authorization"] = f"Bearer {token}"
        response = client.send(client.build_request("GET", url, headers=sent), stream=True)
        if not response.has_redirect_location:
            return response
        response.close()
        url = url.join(response.headers["Location"])
    msg = f"The hub sends us on more than {MAX_REDIRECTS} times."
    raise UnsupportedDownloadError(msg)


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _reason(error: httpx2.RequestError) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return f"no answer within {read_timeout_s():g} s"
    return str(error) or type(error).__name__
