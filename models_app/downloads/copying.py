"""Fetch the files of a model from another node: the same bytes, ranges and hashes as of a hub.

What differs is who gives them: a server that is there for this copy alone, and may be gone at
any time. So where it is, is asked for each time it does not answer.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import httpx2

from models_app.downloads.control import Control, TryAgainError
from models_app.downloads.files import Plan, RemoteFile
from models_app.downloads.http import opened, read_text
from models_app.downloads.landing import plan_of
from models_app.downloads.manifest import Manifest
from models_app.downloads.offers import Offer, OfferDesk
from models_app.downloads.transfer import Fetcher
from models_app.errors import UnsupportedDownloadError

HASHING_S: Final = 1.0  # between two questions whether hashes are reckoned by now


@dataclass(frozen=True, slots=True)
class CopySource:
    """What is copied from where, as the fetching thread knows it."""

    node: str
    model_id: str
    identity: str
    desk: OfferDesk

    @property
    def hint(self) -> str:
        return (
            f"Make sure that this machine reaches node {self.node} at its MAGI_NODE_ADDRESS "
            "and the ports of MAGI_COPY_PORT_RANGE_START to _END."
        )

    def plan(self, client: httpx2.Client, control: Control) -> Plan:
        """Return what there is to fetch; it waits while the other node reckons hashes.

        Raises:
            UnavailableError: that node offers, and cannot be reached.
            UnsupportedDownloadError: what it tells cannot be used.
        """
        raw: bytes | None = None
        while raw is None:
            raw = control.patiently(
                lambda: self._manifest(client, control), f"Node {self.node}", self.hint
            )
            if raw is None:
                control.wait(HASHING_S)
        manifest = Manifest.of_json(raw)
        return plan_of(manifest, model_id=self.model_id, identity=self.identity)

    @contextmanager
    def asked(
        self,
        client: httpx2.Client,
        path: str,
        control: Control,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[httpx2.Response]:
        """Ask the offer that holds now; one that does not answer is doubted.

        Raises:
            TryAgainError: it does not answer, or does not know our token.
        """
        offer = self.desk.wait(control)
        has_answered = False
        try:
            with opened(
                client, f"{offer.url}{path}", control, headers=headers or {}, token=offer.token
            ) as response:
                _require_token(response)
                has_answered = True
                yield response
        except TryAgainError as error:
            if not has_answered:
                self.desk.doubt(offer)
                raise _at(offer, error) from error
            raise

    def _manifest(self, client: httpx2.Client, control: Control) -> bytes | None:
        with self.asked(client, "/", control) as response:
            if response.status_code == HTTPStatus.ACCEPTED:
                return None
            if response.status_code != HTTPStatus.OK:
                msg = f"Node {self.node} answers {response.status_code} for its list of files."
                raise UnsupportedDownloadError(msg)
            return read_text(response)


@dataclass(frozen=True, slots=True)
class CopyFetcher(Fetcher):
    """Fetches one file from a node, wherever that offers it at the moment."""

    source: CopySource = field(kw_only=True)

    @contextmanager
    def ask(self, file: RemoteFile, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
        with self.source.asked(self.client, file.url, self.control, headers) as response:
            yield response

    def patience(self, file: RemoteFile) -> tuple[str, str]:
        return f"Node {self.source.node}", self.source.hint


def fetcher(client: httpx2.Client, control: Control, source: CopySource) -> CopyFetcher:
    return CopyFetcher(
        client,
        control,
        token="",  # nosec B106 - of a hub, and here is none
        gated="",
        teller=f"node {source.node}",
        distrust=f"verify it there: manage.py models verify {source.model_id}",
        source=source,
    )


def _require_token(response: httpx2.Response) -> None:
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        msg = "it does not know our token: another offer is there, or another MAGI_SECRET_KEY"
        raise TryAgainError(msg)


def _at(offer: Offer, error: TryAgainError) -> TryAgainError:
    return TryAgainError(f"{offer.url}: {error}", after_s=error.after_s)
