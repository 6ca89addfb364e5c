"""The ledger: what is over gets written down, and no failure reaches a request."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from servers_app.gateway import ledger as ledger_module
from servers_app.gateway.background import cancelled
from servers_app.gateway.ledger import Ledger
from servers_app.gateway.trace import Trace
from tests.servers_app.gateway.conftest import until


@dataclass
class Book:
    """What a ledger writes in; shut, it fails, and closed at a gate it waits."""

    is_shut: bool = False
    batches: list[list[str]] = field(default_factory=list)
    tries: int = 0
    gate: asyncio.Event | None = None

    async def write(self, traces: Sequence[Trace]) -> None:
        self.tries += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.is_shut:
            message = "no database"
            raise OSError(message)
        self.batches.append([trace.request_id for trace in traces])

    @property
    def names(self) -> list[str]:
        return [name for batch in self.batches for name in batch]


def trace(name: str) -> Trace:
    return Trace(name, "/v1/chat/completions")


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "WRITE_INTERVAL_S", 0.02)
    monkeypatch.setattr(ledger_module, "BATCH", 3)
    monkeypatch.setattr(ledger_module, "MAX_UNWRITTEN", 5)


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
async def ledger(book: Book) -> AsyncIterator[Ledger]:
    """A ledger at work."""
    ledger = Ledger(book.write)
    task = asyncio.create_task(ledger.keep_written())
    yield ledger
    await cancelled(task)
    await ledger.close()


async def test_what_is_over_is_written_in_batches_in_its_order(
    ledger: Ledger, book: Book
) -> None:
    for name in "abcd":
        ledger.done(trace(name))
    await until(lambda: len(book.names) == 4)

    ledger.done(trace("e"))
    await until(lambda: len(book.names) == 5)

    assert book.batches == [["a", "b", "c"], ["d"], ["e"]]


async def test_done_waits_for_nothing_while_a_batch_is_written(
    ledger: Ledger, book: Book
) -> None:
    book.gate = asyncio.Event()
    ledger.done(trace("a"))
    await until(lambda: book.tries == 1)

    ledger.done(trace("b"))
    book.gate.set()
    await until(lambda: len(book.names) == 2)

    assert book.names == ["a", "b"]


async def test_what_could_not_be_written_is_written_when_it_can_be(
    ledger: Ledger, book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=ledger_module.__name__)
    book.is_shut = True
    ledger.done(trace("a"))
    await until(lambda: book.tries >= 3)

    book.is_shut = False
    await until(lambda: bool(book.names))

    assert book.names == ["a"]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2  # once for all tries
    assert "could not be written down" in said[0]
    assert "written down again" in said[1]


async def test_the_oldest_go_where_too_many_wait_and_it_says_so_once(
    ledger: Ledger, book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    book.is_shut = True
    ledger.done(trace("in the batch"))
    await until(lambda: book.tries > 0)

    for number in range(9):
        ledger.done(trace(str(number)))
    book.is_shut = False
    await until(lambda: len(book.names) == 6)

    assert book.names == ["in the batch", "4", "5", "6", "7", "8"]
    assert [r.getMessage() for r in caplog.records if "dropped" in r.getMessage()] == [
        "More than 5 requests wait to be written down. The oldest are dropped."
    ]


async def test_what_is_left_at_the_end_is_written() -> None:
    book = Book()
    ledger = Ledger(book.write)
    task = asyncio.create_task(ledger.keep_written())
    for name in "abcd":
        ledger.done(trace(name))

    await cancelled(task)
    await ledger.close()

    assert book.names == ["a", "b", "c", "d"]


async def test_a_batch_that_is_being_written_at_the_end_is_written_once() -> None:
    book = Book(gate=asyncio.Event())
    ledger = Ledger(book.write)
    task = asyncio.create_task(ledger.keep_written())
    ledger.done(trace("a"))
    await until(lambda: book.tries == 1)

    await cancelled(task)
    closing = asyncio.create_task(ledger.close())
    await asyncio.sleep(0)
    assert book.gate is not None
    book.gate.set()
    await closing

    assert book.batches == [["a"]]


async def test_a_database_that_is_away_does_not_keep_the_gateway_from_ending(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ledger_module, "CLOSE_TIMEOUT_S", 0.05)
    hanging = Ledger(Book(gate=asyncio.Event()).write)
    failing = Ledger(Book(is_shut=True).write)

    for ledger in (hanging, failing):
        for name in "abcd":
            ledger.done(trace(name))
        await ledger.close()

    lost = "4 requests may not have been written down before the end."
    assert [record.getMessage() for record in caplog.records].count(lost) == 2
