"""How fast memory is read: really measured, with a small buffer; and why it is not."""

import pytest

from servers_app.hardware import Memory, bandwidth, processor
from servers_app.hardware.bandwidth import decode_threads, measure

MIB = 2**20


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "MOST_S", 0.3)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_it_is_measured_and_says_how_and_how_sure_it_is(threads: int) -> None:
    found, trouble = measure(threads=threads, buffer_bytes=16 * MIB)

    assert found is not None, trouble
    assert found.bytes_per_s > 10**8  # the slowest memory that runs Python
    assert 0 <= found.error_bytes_per_s <= found.bytes_per_s
    assert f"{threads} thread" in found.how
    assert "16 MiB" in found.how


def test_where_others_have_the_processors_it_says_that_it_may_be_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bandwidth, "CALM", 2.0)  # no thread has more than a processor

    found, _ = measure(threads=2, buffer_bytes=16 * MIB)

    assert found is not None
    assert found.how.startswith("Other programs had the processors in all but 0 of")
    assert "it may be far more" in found.how


def test_it_is_not_measured_where_that_would_take_memory_from_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = Memory(8_000 * MIB, 500 * MIB)
    monkeypatch.setattr(bandwidth, "read_memory", lambda: free)

    found, trouble = measure(threads=1, buffer_bytes=64 * MIB)

    assert found is None
    assert "500 MiB are free. Stop a model, and look again." in trouble


def test_a_machine_that_starts_no_threads_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_thread: object) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    monkeypatch.setattr("threading.Thread.start", refuse)

    assert measure(threads=2, buffer_bytes=16 * MIB) == (
        None,
        "The memory bandwidth could not be measured: can't start new thread.",
    )


@pytest.mark.parametrize(
    ("physical", "fast", "limit", "threads"),
    [
        pytest.param(8, None, None, 8, id="all cores"),
        pytest.param(14, 6, None, 6, id="the fast ones"),
        pytest.param(64, None, 2.5, 2, id="those of a container"),
        pytest.param(64, None, 0.5, 1, id="at least one"),
        pytest.param(512, None, None, 256, id="not without end"),
    ],
)
def test_it_reads_with_as_many_threads_as_a_decode_has(
    monkeypatch: pytest.MonkeyPatch,
    physical: int,
    fast: int | None,
    limit: float | None,
    threads: int,
) -> None:
    monkeypatch.setattr(processor, "physical_cores", lambda: physical)
    monkeypatch.setattr(processor, "performance_cores", lambda: fast)
    monkeypatch.setattr(processor, "cpu_limit", lambda: limit)

    assert decode_threads() == threads
