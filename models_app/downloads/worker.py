"""Fetch one model: a thread asks who has it, and the task's own thread looks after it.

The first knows no database, the second waits for no hub. So what people want is seen
within a second, and no hub holds a worker that is to end.
"""

import errno
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from models_app.download_models import UNDER_WAY, Download, DownloadSource, DownloadState
from models_app.downloads import asking, copying, hub, ollama_registry
from models_app.downloads.control import Bucket, Control, NotYetError, StoppedError
from models_app.downloads.files import SHA256, Plan
from models_app.downloads.http import make_client
from models_app.downloads.offers import OfferDesk
from models_app.downloads.references import OLLAMA, Reference, parse_reference
from models_app.downloads.registering import register, register_copy
from models_app.downloads.space import free_bytes, full, require_space
from models_app.downloads.states import move, tell_of
from models_app.downloads.transfer import Fetcher
from models_app.errors import DownloadError, UnknownReferenceError
from models_app.locks import node_lock
from models_app.worker_end import stopping

TICK_S: Final = 0.25
WRITE_S: Final = 0.5
LOOK_S: Final = 2.0  # at the disk
STOP_S: Final = 1.0
RATE_S: Final = 8.0  # over which a rate is taken
FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class Look(NamedTuple):
    """How far a download is, for whoever watches it from this process."""

    row: Download
    note: str  # a sentence: what was chosen, or done, where nobody said it
    trouble: str  # while something is tried again


OnTick = Callable[[Look], None]

log = logging.getLogger(__name__)


def lock_name(download_id: int) -> str:
    return f"download-{download_id}"


@contextmanager
def slot() -> Iterator[bool]:
    """Hold one of this node's MAGI_DOWNLOADS_AT_ONCE places; yield whether one was free."""
    for number in range(settings.MAGI_DOWNLOADS_AT_ONCE):
        with node_lock(f"download-slot-{number}") as held:
            if held:
                yield True
                return
    yield False


def run_in_turn(download_id: int) -> bool:
    """Run a download if a place is free; without one it stays queued. Return whether it ran."""
    with slot() as has_place:
        return has_place and run(download_id) is not None


def run(download_id: int, *, on_tick: OnTick | None = None) -> Download | None:
    """Bring one download to its end; safe to call at any time, and any number of times.

    Returns:
        The row as it has become; None while somebody else is at it.
    """
    with node_lock(lock_name(download_id)) as held:
        if not held:
            return None
        row = Download.objects.select_related("model").get(pk=download_id)
        if not row.is_under_way:
            return row
        if not row.is_wanted:
            return _cancelled(row)
        try:
            _Run(row, on_tick).go()
        except NotYetError as error:
            return _waits(row, error)
        except UnknownReferenceError as error:
            return _ended(row, DownloadState.FAILED, error=str(error), error_code=error.code)
        row.refresh_from_db()
        return row


class _Job:
    """What the fetching thread does, and what came of it.

    Args:
        source: a model at a hub, or one that another node has.
    """

    def __init__(
        self, source: Reference | copying.CopySource, revision: str, control: Control
    ) -> None:
        self.source = source
        self.revision = revision
        self.control = control
        self.plan: Plan | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._work, name="download", daemon=True)

    def _work(self) -> None:
        try:
            if isinstance(self.source, copying.CopySource):
                self._copy(self.source)
            else:
                self._fetch(self.source)
        except BaseException as error:
            self.error = error

    def _fetch(self, reference: Reference) -> None:
        control = self.control
        if reference.source == OLLAMA:
            plan = ollama_registry.ollama_plan(reference, control)
            gated = ollama_registry.gated_text(str(reference))
        else:
            plan = hub.hub_plan(reference, self.revision, control)
            gated = hub.gated_text(reference.repo)
        with make_client() as client:
            self._bring(plan, Fetcher(client, control, plan.token, gated))

    def _copy(self, source: copying.CopySource) -> None:
        with make_client(is_direct=True) as client:
            plan = source.plan(client, self.control)
            self._bring(plan, copying.fetcher(client, self.control, source))

    def _bring(self, plan: Plan, fetcher: Fetcher) -> None:
        control = self.control
        for file in plan.files:
            control.has(file.name, file.size_here)
        self.plan = plan
        missing = plan.total_bytes - sum(control.done_bytes.values())
        if missing:
            require_space(plan.root, missing)
        for file in plan.files:
            fetcher.fetch(file)


class _Run:
    """The other thread: writes down how far it is, and sees what people want."""

    def __init__(self, row: Download, on_tick: OnTick | None) -> None:
        self.row = row
        self.on_tick = on_tick
        self.control = Control(_buckets(row))
        self.asking: asking.Asking | None = None
        self.job = _Job(self._source(), row.revision, self.control)
        self.samples: deque[tuple[float, int]] = deque()

    def _source(self) -> Reference | copying.CopySource:
        row = self.row
        if row.source != DownloadSource.NODE:
            return parse_reference(row.reference, source=row.source)
        model = asking.model_of(row)
        desk = OfferDesk()
        self.asking = asking.Asking(row, desk)
        return copying.CopySource(row.from_node, model.model_id, model.identity, desk)

    def go(self) -> None:
        now = timezone.now()
        self._write(
            state=DownloadState.RUNNING,
            started_at=self.row.started_at or now,
            error="",
            error_code="",
            finished_at=None,
        )
        tell_of(self.row)
        self.job.thread.start()
        try:
            problem = self._look_after()
        except BaseException:
            self.control.stop()
            self.job.thread.join(STOP_S)
            raise
        self._tick()
        if (error := problem or self.job.error) is not None:
            self._failed(error)
        elif self.job.plan is not None:
            self._register(self.job.plan)

    def _look_after(self) -> Exception | None:
        """Return when the fetching thread has ended, or has been told to."""
        looked_at = wrote_at = time.monotonic()
        problem: Exception | None = None
        while self.job.thread.is_alive():
            self.job.thread.join(TICK_S)
            now = time.monotonic()
            if now - wrote_at >= WRITE_S:
                wrote_at = now
                self._tick()
            if now - looked_at >= LOOK_S:
                looked_at = now
                problem = self._disk_problem()
            if self.asking is not None and problem is None:
                problem = self._asking_problem(self.asking)
            if problem is not None or stopping.is_set() or not self.row.is_wanted:
                self.control.stop()
                self.job.thread.join(STOP_S)
                return problem or _stopped(self.job)
        return None

    @staticmethod
    def _asking_problem(asking: asking.Asking) -> NotYetError | None:
        try:
            asking.look()
        except NotYetError as error:
            return error
        return None

    def _disk_problem(self) -> DownloadError | None:
        plan = self.job.plan
        if plan is None or plan.total_bytes == sum(self.control.done_bytes.values()):
            return None
        reserve = settings.MAGI_DOWNLOAD_RESERVE_MIB * 2**20
        return full("Others have filled it.") if free_bytes(plan.root) < reserve else None

    def _tick(self) -> None:
        """Write down how far it is. A database that is away for a moment stops nothing."""
        done = sum(self.control.done_bytes.values())
        fields: dict[str, Any] = {"bytes_per_s": self._rate(done)}
        if done > self.row.done_bytes:
            fields["moved_at"] = timezone.now()
        fields["done_bytes"] = done
        if (plan := self.job.plan) is not None:
            fields |= {
                "files": [_file_json(file, self.control) for file in plan.files],
                "total_bytes": plan.total_bytes,
                "commit": plan.commit,
                "folder": str(plan.root),
            }
        is_hashing = bool(self.control.hashing)
        fields["state"] = DownloadState.VERIFYING if is_hashing else DownloadState.RUNNING
        try:
            self._write(**fields)
            # The node that has the files ends a copy that cannot be.
            wanted = Download.objects.filter(
                pk=self.row.pk, is_wanted=True, state__in=UNDER_WAY
            )
            self.row.is_wanted = wanted.exists()
        except DatabaseError as error:
            log.warning("How far %s is could not be written: %s", self.row, error)
            connection.close()
        tell_of(self.row)
        if self.on_tick is not None:
            note = self.job.plan.note if self.job.plan is not None else ""
            chosen = f"Chosen: {note}" if note else ""
            self.on_tick(Look(self.row, chosen, self.control.last_failure))

    def _rate(self, done: int) -> float | None:
        if self.job.plan is None:
            return None  # what is there from before would count as if it came just now
        now = time.monotonic()
        if self.samples and done < self.samples[-1][1]:
            self.samples.clear()  # a file begins anew
        self.samples.append((now, done))
        while now - self.samples[0][0] > RATE_S:
            self.samples.popleft()
        seconds = now - self.samples[0][0]
        return (done - self.samples[0][1]) / seconds if seconds > TICK_S else None

    def _register(self, plan: Plan) -> None:
        self._write(state=DownloadState.VERIFYING, bytes_per_s=None)
        try:
            if self.row.source == DownloadSource.NODE and self.row.model is not None:
                registered = register_copy(self.row.node, plan, plan.place(), self.row.model)
            else:
                registered = register(self.row.node, plan, plan.place())
        except (DownloadError, OSError) as error:
            self._failed(error)
            return
        if registered.new_root:
            note = f"{registered.new_root} is a scan root now."
            log.info(note)
            if self.on_tick is not None:
                self.on_tick(Look(self.row, note, ""))
        _ended(self.row, DownloadState.FINISHED, model=registered.model)

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, NotYetError):
            _waits(self.row, error)
            return
        if isinstance(error, StoppedError):
            if not self.row.is_wanted:
                _cancelled(self.row)
            if self.row.is_under_way:
                _ended(self.row, DownloadState.QUEUED, finished_at=None)
            return
        code = "failed"
        if isinstance(error, OSError) and error.errno in FULL:
            error = full("It took no more.")
        if isinstance(error, DownloadError):
            code, text = error.code, str(error)
        elif isinstance(error, OSError):
            text = (
                f"It could not be written: {error.strerror or error}. Mend that, and ask again."
            )
        else:
            log.error("The download of %s failed", self.row, exc_info=error)
            text = f"{type(error).__name__}: {error}. The log of the worker says more."
        _ended(self.row, DownloadState.FAILED, error=text[:2000], error_code=code)

    def _write(self, **fields: Any) -> None:
        Download.objects.filter(pk=self.row.pk, state__in=UNDER_WAY).update(**fields)
        for name, value in fields.items():
            setattr(self.row, name, value)


def _stopped(job: _Job) -> Any:
    """Return why it was stopped, unless it had come to its end by then."""
    return None if not job.thread.is_alive() else StoppedError()


def _cancelled(row: Download) -> Download:
    """Cancel it, unless somebody has asked for it again since it was seen not to be wanted."""
    return _ended(row, DownloadState.CANCELLED, is_wanted=False)


def _waits(row: Download, error: NotYetError) -> Download:
    return _ended(row, DownloadState.QUEUED, finished_at=None, error=str(error))


def _ended(row: Download, state: DownloadState, **fields: Any) -> Download:
    values = {"finished_at": timezone.now(), "bytes_per_s": None, **fields}
    move(row.pk, state, out_of=UNDER_WAY, **values)
    row.refresh_from_db()
    tell_of(row)
    return row


def _file_json(file: Any, control: Control) -> dict[str, Any]:
    return {
        "name": file.name,
        "size_bytes": file.size_bytes,
        "done_bytes": control.done_bytes.get(file.name, 0),
        "sha256": file.digest.value if file.digest.algorithm == SHA256 else "",
    }


def _buckets(row: Download) -> list[Bucket]:
    buckets = [Bucket(row.limit_bytes_per_s)] if row.limit_bytes_per_s else []
    if settings.MAGI_DOWNLOAD_LIMIT_KIB:
        buckets.append(_shared_bucket(settings.MAGI_DOWNLOAD_LIMIT_KIB * 1024))
    return buckets


@lru_cache(maxsize=1)
def _shared_bucket(bytes_per_s: int) -> Bucket:
    """Return the one that all downloads of this process take from."""
    return Bucket(bytes_per_s)
