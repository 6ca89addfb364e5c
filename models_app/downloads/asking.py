"""Have the node that has the files offer them, and hear where.

This is the part of a copy that knows the database and the queue. While that node is silent,
the copy waits, and takes nobody's place.
"""

import logging
import time
from typing import Final

from celery import current_app
from django.db import DatabaseError
from django.db.models import QuerySet

from models_app.copies import as_on, nodes_of
from models_app.download_models import Download
from models_app.downloads.control import NotYetError
from models_app.downloads.offers import Offer, OfferDesk, token_for
from models_app.errors import NoWorkerError, QueueUnavailableError, UnknownReferenceError
from models_app.models import DiscoveredModel
from models_app.queue import enqueue, require_worker, without_worker

OFFER_S: Final = 30.0  # for an offer to be there, once it has been asked for
TASK: Final = "models_app.tasks.offer_files"  # by its name: tasks.py stands above this

log = logging.getLogger(__name__)


class Asking:
    """Looks whether the fetching thread needs an offer, and gets it one."""

    def __init__(self, row: Download, desk: OfferDesk) -> None:
        self._row = row
        self._desk = desk
        self._asked_at: float | None = None

    def look(self) -> None:
        """Take the next step; it waits for nobody for longer than a second.

        Raises:
            NotYetError: the node that has the files is silent.
        """
        if not self._desk.needs_one:
            self._asked_at = None
            return
        try:
            self._step(Download.objects.filter(pk=self._row.pk))
        except (NoWorkerError, QueueUnavailableError) as error:
            raise NotYetError(_waits(error)) from error
        except DatabaseError:
            return  # away for a moment; how far it is could not be written either

    def _step(self, rows: QuerySet[Download]) -> None:
        if self._asked_at is None:
            rows.update(offer_url="")  # what stands there does not answer, or did not once
            request_offer(self._row)
            self._asked_at = time.monotonic()
            return
        seen = rows.values_list("offer_url", "offered_at").first()
        if seen and seen[0] and seen[1]:
            self._desk.put(Offer(seen[0], token_for(self._row.pk, seen[1])))
        elif time.monotonic() - self._asked_at > OFFER_S:
            msg = (
                f"Waits: node {self._row.from_node} has been asked for the files and does not "
                "offer them. The log of its worker says why, if it knows."
            )
            raise NotYetError(msg)


def request_offer(row: Download) -> None:
    """Have the worker of the node that has the files offer them.

    Raises:
        NoWorkerError, QueueUnavailableError: nobody would do it.
    """
    require_worker(row.from_node)
    enqueue(current_app.tasks[TASK], row.pk, node=row.from_node, wants_result=False)


def model_of(row: Download) -> DiscoveredModel:
    """Return the model that a copy is of.

    Where the node that was to give its files is silent, another one that has them is to.

    Raises:
        UnknownReferenceError: it has been removed from the registry.
        NotYetError: all nodes that have its files are silent.
    """
    if row.model is None:
        msg = f"{row.reference} is registered no longer."
        raise UnknownReferenceError(msg)
    try:
        _choose_source(row, row.model)
    except (NoWorkerError, QueueUnavailableError) as error:
        raise NotYetError(_waits(error)) from error
    return row.model


def _choose_source(row: Download, model: DiscoveredModel) -> None:
    others = [
        node
        for node in nodes_of(model)
        if node not in (row.node, row.from_node) and not as_on(model, node).problem
    ]
    silent = without_worker([row.from_node, *others])
    if row.from_node not in silent:
        return
    there = next((node for node in others if node not in silent), None)
    if there is None:
        raise silent[row.from_node]
    log.info("Node %s is silent: %s gives %s", row.from_node, there, row)
    row.from_node, row.offer_url = there, ""
    row.save(update_fields=["from_node", "offer_url"])


def _waits(error: Exception) -> str:
    return f"Waits: {error} It goes on by itself then."
