from datetime import UTC, datetime

import pytest

from servers_app.recommend.speed import (
    EFFICIENCY,
    Reading,
    Speed,
    bytes_of_token,
    measured_speed,
    reading_of,
    reckoned_speed,
)


def reckoned(read_bytes: float = 1e9, *, is_on_gpu: bool = False) -> Speed:
    reading = Reading(10e9, "at 10 GB/s")
    return reckoned_speed(read_bytes=read_bytes, reading=reading, is_on_gpu=is_on_gpu)


def test_a_token_reads_all_weights_once() -> None:
    assert bytes_of_token(10**9, active_share=1.0) == 10**9
    assert reckoned().tokens_per_s == 10


def test_of_a_mixture_of_experts_only_those_at_work_are_read() -> None:
    assert bytes_of_token(10**9, active_share=0.25) == 10**9 / 4


def test_the_cache_of_an_ordinary_conversation_is_read_too() -> None:
    def read(ctx_size: int) -> float:
        return bytes_of_token(0, active_share=1, kv_cache_bytes=4000, ctx_size=ctx_size)

    assert read(8192) == 1000  # 2,048 of 8,192 tokens
    assert read(1024) == 4000
    assert read(0) == 0


def test_it_is_said_that_it_is_reckoned_and_from_what() -> None:
    speed = reckoned()

    assert speed.source == "bandwidth"
    assert speed.how == "reckoned: 1 GB read for each token, at 10 GB/s"


def test_fewer_threads_than_cores_read_less_than_all_of_them_could() -> None:
    one, all_ = (reading_of(10**10, threads=threads, cores=2) for threads in (1, 2))

    assert one is not None
    assert all_ is not None
    assert all_.bytes_per_s == EFFICIENCY * 10**10
    assert one.bytes_per_s == all_.bytes_per_s / 2
    assert one.words == "at 30% of the memory's 10 GB/s"


def test_what_other_models_reached_here_counts_instead_of_the_rule_of_thumb() -> None:
    reading = reading_of(10**10, threads=1, cores=2, seen_bytes_per_s=[4e9, 9e9, 5e9])

    assert reading == Reading(5e9, "at the 5 GB/s that 3 models reached here")


def test_where_nothing_was_measured_nothing_is_made_up() -> None:
    assert reading_of(None, threads=1, cores=2) is None
    for speed in (
        reckoned_speed(read_bytes=1e9, reading=None, is_on_gpu=False),
        reckoned(is_on_gpu=True),
    ):
        assert (speed.source, speed.tokens_per_s) == ("none", None)
        assert "manage.py " in speed.how


def test_a_benchmark_says_when_it_was_made() -> None:
    speed = measured_speed(31.25, datetime(2026, 11, 20, tzinfo=UTC))

    assert speed.as_json() == {
        "tokens_per_s": 31.25,
        "source": "benchmark",
        "how": "measured here on 2026-11-20",
    }


@pytest.mark.parametrize(
    ("source", "label"),
    [(measured_speed(1, None), "measured"), (reckoned(), "reckoned")],
)
def test_a_page_says_it_in_a_word(source: Speed, label: str) -> None:
    assert source.source.label == label
