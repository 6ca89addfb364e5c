"""An offer: where a node gives away the files of a model, and what opens them.

The token is derived, as the keys of servers are: of the secret key, the number of the download
and the moment since when it is offered. No database and no log holds it.
"""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from django.utils.crypto import salted_hmac

from models_app.downloads.control import Control

POLL_S: Final = 0.1
_SALT: Final = "models_app.downloads.offers"


@dataclass(frozen=True, slots=True)
class Offer:
    url: str
    token: str


def token_for(download_id: int, offered_at: datetime) -> str:
    """Return the token of one offer, 64 hexadecimal digits."""
    moment = offered_at.astimezone(UTC).isoformat(timespec="microseconds")
    return salted_hmac(_SALT, f"{download_id} {moment}", algorithm="sha256").hexdigest()


class OfferDesk:
    """Between the thread that fetches and needs an offer, and the one that can get one."""

    def __init__(self) -> None:
        self._offer: Offer | None = None
        self._is_needed = False
        self._lock = threading.Lock()

    @property
    def needs_one(self) -> bool:
        return self._is_needed

    def wait(self, control: Control) -> Offer:
        """Return an offer, as soon as there is one that nobody doubts.

        Raises:
            StoppedError: nobody wants the download any more.
        """
        while True:
            with self._lock:
                if self._offer is not None:
                    return self._offer
                self._is_needed = True
            control.wait(POLL_S)

    def put(self, offer: Offer) -> None:
        with self._lock:
            self._offer, self._is_needed = offer, False

    def doubt(self, offer: Offer) -> None:
        """Take `offer` back: nobody answers there, or its token is none any more."""
        with self._lock:
            if self._offer == offer:
                self._offer = None
