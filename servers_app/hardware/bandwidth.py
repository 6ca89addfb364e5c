"""How fast this machine reads its memory: what bounds the tokens per second of a processor.

A decode reads each weight once for every token, with all its threads at once. So this reads:
threads that each go through a part of a buffer far larger than the caches, with `memchr` of
the system's C library, which is written with vector instructions, for a byte that is not
there. Python waits meanwhile without its lock, so the threads do run at once.
"""

import ctypes
import mmap
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from servers_app.hardware import processor
from servers_app.hardware.ram import read_memory

# Far longer than threads take to wake up, and so short that many rounds pass undisturbed.
ROUND_S: Final = 0.002
ROUND_S_PER_THREAD: Final = 0.0001
WAKE_S: Final = 0.0005
CALM_ROUNDS: Final = 60  # as many are enough
LEAST_CALM: Final = 8
MOST_S: Final = 3.0
CALM: Final = 0.9  # of the time each thread had a processor
LEAST_BYTES: Final = 64 * 2**20
MOST_BYTES: Final = 1024 * 2**20
CACHES: Final = 4  # the buffer is so many times the largest cache
SHARE: Final = 8  # and at most this part of what is free
MOST_THREADS: Final = 256
WAIT_S: Final = 30.0  # a thread that does not come by then is not waited for

_Read = Callable[[int, int, int], int | None]


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Bytes per second that all threads read together, and half of the spread of its rounds."""

    bytes_per_s: int
    error_bytes_per_s: int
    how: str


class _Round(NamedTuple):
    bytes_per_s: float
    is_calm: bool  # nothing else had the processors


def measure(
    *, threads: int | None = None, buffer_bytes: int | None = None
) -> tuple[Bandwidth | None, str]:
    """Measure it: half a second of all processors, some more where others use them, too.

    Rounds in which a thread had to wait for a processor do not count, if there are others.
    What else reads memory only slows this: so the better half of the rounds counts, its
    middle as the figure and half of its range as the error.

    Args:
        threads: as many as llama-server takes by itself, if it is not given.
        buffer_bytes: of all threads together; by the caches and what is free, if not given.

    Returns:
        The figure, or None and a sentence that says why there is none.
    """
    threads = threads or decode_threads()
    free = read_memory().available_bytes
    wanted = max(LEAST_BYTES, CACHES * processor.last_cache_bytes())
    size = buffer_bytes or min(wanted, MOST_BYTES)
    if size > free // SHARE:
        return None, (
            f"The memory bandwidth was not measured: it takes {size >> 20} MiB, which must be "
            f"an eighth of what is free at most, and {free >> 20} MiB are free. Stop a model, "
            "and look again."
        )
    try:
        rounds = _rounds(threads, size // threads)
    except (OSError, RuntimeError, AttributeError, MemoryError) as error:
        reason = str(error) or type(error).__name__
        return None, f"The memory bandwidth could not be measured: {reason}."
    calm = [each.bytes_per_s for each in rounds if each.is_calm]
    is_calm = len(calm) >= LEAST_CALM
    rates = sorted(calm) if is_calm else sorted(each.bytes_per_s for each in rounds)
    best = rates[len(rates) // 2 :] if is_calm else rates[-LEAST_CALM:]
    how = (
        f"Read by {threads} {'thread' if threads == 1 else 'threads'} at once with the C "
        f"library's memchr, {size >> 20} MiB again and again; the middle of the better half of "
        f"{len(rates)} rounds, and half of its range as the error."
    )
    if not is_calm:
        how = (
            f"Other programs had the processors in all but {len(calm)} of {len(rounds)} "
            f"rounds: this is the middle of the best {len(best)}, and it may be far more. "
            f"Look again when the machine is at rest. {how.partition(';')[0]}."
        )
    spread = (best[-1] - best[0]) / 2
    return Bandwidth(round(statistics.median(best)), round(spread), how), ""


def decode_threads() -> int:
    """Return how many threads decode: a core each, the fast ones where there are slower."""
    cores = processor.performance_cores() or processor.physical_cores()
    limit = processor.cpu_limit()
    if limit is not None:
        cores = min(cores, max(1, int(limit)))
    return min(cores, MOST_THREADS)


def _rounds(threads: int, part_bytes: int) -> list[_Round]:
    """Read again and again, and return how fast each round was.

    Raises:
        OSError: there is no memory for it.
        RuntimeError: threads cannot be started, or did not come to their end.
        AttributeError: the C library has no memchr.
    """
    read = _reader()
    maps = [mmap.mmap(-1, part_bytes) for _ in range(threads)]
    parts = [(ctypes.c_char * part_bytes).from_buffer(part) for part in maps]
    addresses = [ctypes.addressof(part) for part in parts]
    for address in addresses:
        ctypes.memset(address, 1, part_bytes)  # a page never written to is no memory
    once_s = min(_seconds_of(read, address, part_bytes) for address in addresses)
    round_s = ROUND_S + ROUND_S_PER_THREAD * threads
    piece = max(4096, min(part_bytes, int(part_bytes * round_s / once_s)))
    return _Race(read, addresses, part_bytes, piece).run()


@dataclass(slots=True)
class _Race:
    """Threads that read at once, round for round, until enough rounds were calm."""

    read: _Read
    addresses: Sequence[int]
    part_bytes: int  # of each thread
    piece_bytes: int  # of it, that is read in a round; the next one is read in the next
    rounds: list[_Round] = field(default_factory=list)
    is_over: bool = False
    # Of the round that is run: when each thread began and ended, and its processor's time.
    seen: dict[int, tuple[float, float, float]] = field(default_factory=dict)
    ends_at: float = field(default_factory=lambda: time.perf_counter() + MOST_S)
    starts_at: float = 0.0

    def run(self) -> list[_Round]:
        together = threading.Barrier(len(self.addresses), action=self._judge)
        workers = [
            threading.Thread(
                target=self._work, args=(address, together), name="bandwidth", daemon=True
            )
            for address in self.addresses
        ]
        try:
            for worker in workers:
                worker.start()
        except RuntimeError:
            together.abort()
            raise
        for worker in workers:
            worker.join(WAIT_S)
        if not self.is_over:
            msg = "its threads did not come to their end"
            raise RuntimeError(msg)
        return self.rounds

    def _work(self, address: int, together: threading.Barrier) -> None:
        at = 0
        try:
            while True:
                together.wait(WAIT_S)
                if self.is_over:
                    return
                # Woken by each other they would begin one after the other.
                time.sleep(max(0.0, self.starts_at - time.perf_counter()))
                start, of_cpu = time.perf_counter(), time.thread_time()
                self.read(address + at, 0, self.piece_bytes)
                end = time.perf_counter()
                at += self.piece_bytes
                if at + self.piece_bytes > self.part_bytes:
                    at = 0
                self.seen[address] = start, end, time.thread_time() - of_cpu
        except threading.BrokenBarrierError:
            return  # said by `run`: it is not over

    def _judge(self) -> None:
        """Take down the round that all have ended; called by one of them."""
        if self.seen:
            spans = self.seen.values()
            took = max(end for _, end, _ in spans) - min(start for start, _, _ in spans)
            total = self.piece_bytes * len(self.addresses)
            is_calm = min(of_cpu for _, _, of_cpu in spans) >= CALM * took
            self.rounds.append(_Round(total / took, is_calm))
        calm = sum(each.is_calm for each in self.rounds)
        is_late = bool(self.rounds) and time.perf_counter() >= self.ends_at
        self.is_over = calm >= CALM_ROUNDS or is_late
        self.starts_at = time.perf_counter() + WAKE_S


def _seconds_of(read: _Read, address: int, n_bytes: int) -> float:
    begun = time.perf_counter()
    read(address, 0, n_bytes)
    return max(1e-6, time.perf_counter() - begun)


def _reader() -> _Read:
    """Return the C library's memchr(address, byte, bytes); ctypes lets go of Python's lock."""
    memchr = ctypes.CDLL(None).memchr
    memchr.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    memchr.restype = ctypes.c_void_p
    return memchr
