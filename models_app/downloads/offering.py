"""What the node that has the files does for a copy: gives them away while it is under way.

A thread of the worker of its own, as it lasts as long as the copy; no task waits for it.
Whoever copies asks for it, and asks again when it has gone: nothing here is made up for.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from models_app.copies import as_on
from models_app.download_models import UNDER_WAY, Download, DownloadState
from models_app.downloads.control import StoppedError
from models_app.downloads.given import Given, given_of
from models_app.downloads.giving import Giver
from models_app.downloads.offers import token_for
from models_app.downloads.states import move, tell
from models_app.errors import DownloadError, NotOnNodeError, UnsupportedDownloadError
from models_app.locks import node_lock
from models_app.node_address import host_to_bind, url_of
from models_app.scanned import os_reason
from models_app.worker_end import stopping

IDLE_S: Final = 60.0  # without anybody who asks for a byte
LOOK_S: Final = 1.0  # at the row
POLL_S: Final = 0.1
JOIN_S: Final = 2.0

log = logging.getLogger(__name__)


def start(download_id: int, node: str) -> threading.Thread:
    """Offer the files that this node has for a download, from now on, in a thread."""
    thread = threading.Thread(
        target=_run_apart, args=(download_id, node), name=f"offer-{download_id}", daemon=True
    )
    thread.start()
    return thread


def run(download_id: int, node: str, *, ends: Callable[[], bool] = stopping.is_set) -> None:
    """Offer the files of a download until nobody needs them; safe to call at any time.

    Args:
        node: this one.
        ends: whether this process is to end.
    """
    with node_lock(f"offer-{download_id}") as held:
        if not held:
            return  # it is offered: that thread sees that somebody asks
        row = (
            Download.objects.filter(pk=download_id, state__in=UNDER_WAY, is_wanted=True)
            .filter(from_node=node)
            .select_related("model__root")
            .first()
        )
        if row is None:
            return
        try:
            given = _given(row)
            _Offering(row, given).go(ends)
        except (DownloadError, NotOnNodeError) as error:
            _refuse(row, str(error), getattr(error, "code", UnsupportedDownloadError.code))
        except OSError as error:
            reason = os_reason(error, missing="a file is missing")
            text = f"Its files cannot be read on node {row.from_node}: {reason}. Rescan there."
            _refuse(row, text, UnsupportedDownloadError.code)


class _Offering:
    """One open server, and what is written of it."""

    def __init__(self, row: Download, given: Given) -> None:
        self.row = row
        self.given = given
        self.offered_at = timezone.now()
        self.url = ""
        self.problem: OSError | None = None
        self.is_over = threading.Event()

    def go(self, ends: Callable[[], bool]) -> None:
        token = token_for(self.row.pk, self.offered_at)
        first, last = settings.MAGI_COPY_PORT_RANGE_START, settings.MAGI_COPY_PORT_RANGE_END
        try:
            giver = Giver(host_to_bind(), range(first, last + 1), token, self.given.paths)
        except OSError as error:
            # Others are being copied, as a rule: whoever wants this asks again.
            log.warning(
                "Nothing to offer %s on, ports %d to %d: %s", self.row, first, last, error
            )
            return
        hashing = threading.Thread(target=self._hash, args=(giver,), name="hash", daemon=True)
        with giver:
            self.url = url_of(host_to_bind(), giver.port)
            log.info("Offering %s to node %s at %s", self.row, self.row.node, self.url)
            hashing.start()
            try:
                self._look_after(giver, ends)
            finally:
                self.is_over.set()
                hashing.join(JOIN_S)
        Download.objects.filter(pk=self.row.pk, offer_url=self.url).update(offer_url="")
        log.info("Offering %s no more", self.row)
        if self.problem is not None:
            raise self.problem

    def _hash(self, giver: Giver) -> None:
        try:
            giver.manifest = self.given.hashed(self._check).as_json()
        except StoppedError:
            return
        except OSError as error:
            self.problem = error

    def _check(self) -> None:
        if self.is_over.is_set():
            raise StoppedError

    def _look_after(self, giver: Giver, ends: Callable[[], bool]) -> None:
        look_at = 0.0
        while not ends() and self.problem is None:
            if giver.idle_s > IDLE_S:
                return
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + LOOK_S
                if not self._is_needed():
                    return
            self.is_over.wait(POLL_S)

    def _is_needed(self) -> bool:
        """Whether the copy goes on. Where it has to be told again where, it is."""
        rows = Download.objects.filter(pk=self.row.pk)
        try:
            seen = rows.values("state", "is_wanted", "offer_url", "from_node").first()
            if seen is None or seen["state"] not in UNDER_WAY or not seen["is_wanted"]:
                return False
            if seen["from_node"] != self.row.from_node:
                return False
            if seen["offer_url"] != self.url:
                rows.update(offer_url=self.url, offered_at=self.offered_at)
        except DatabaseError as error:
            log.warning("Whether %s is still copied is not known: %s", self.row, error)
            connection.close()
        return True


def _given(row: Download) -> Given:
    if row.model is None:
        msg = f"{row.reference} is registered no longer."
        raise UnsupportedDownloadError(msg)
    return given_of(as_on(row.model, row.from_node))


def _refuse(row: Download, text: str, code: str) -> None:
    fields: dict[str, Any] = {"error": text[:2000], "error_code": code}
    if move(
        row.pk, DownloadState.FAILED, out_of=UNDER_WAY, finished_at=timezone.now(), **fields
    ):
        tell(row.pk)


def _run_apart(download_id: int, node: str) -> None:
    try:
        run(download_id, node)
    except Exception:
        log.exception("Offering the files of download %d failed", download_id)
    finally:
        with suppress(DatabaseError):
            connection.close()
