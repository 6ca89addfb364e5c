"""Whether a model fits: figures in, a decision out."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles_app.models import Eviction
from servers_app.admission import (
    IDLE_LONGEST,
    MIN_RESIDENCY_S,
    Decision,
    Evict,
    Fits,
    Gpu,
    Machine,
    Need,
    Refused,
    Running,
    Wait,
    decide,
)

NEED = Need("Qwen3 4B", ram_mib=5100)
IDLE = Machine(total_mib=16_000, available_mib=16_000)


def server(server_id: int, counted_mib: int = 1000, **fields: Any) -> Running:
    values = {"ready_seconds": 60.0, "idle_seconds": 60.0, **fields}
    return Running(server_id, f"Model {server_id}", counted_mib, **values)


def why(decision: Decision) -> str:
    assert isinstance(decision, Refused | Wait)
    return decision.sentence


def test_the_rule_that_evicts_is_spelled_as_profiles_spell_it() -> None:
    assert Eviction.IDLE_LONGEST.value == IDLE_LONGEST


def test_a_model_that_just_fits_is_launched_and_a_mebibyte_more_is_not() -> None:
    machine = Machine(total_mib=7124, available_mib=6124, reserve_mib=1024)

    assert decide(Need("A", 5100), machine, []) == Fits()
    assert isinstance(decide(Need("A", 5101), machine, []), Refused)


def test_a_refusal_has_all_the_figures_and_says_what_to_do() -> None:
    machine = Machine(total_mib=16_000, available_mib=12_024, reserve_mib=1024)
    running = [
        Running(1, "A", counted_mib=8000, anonymous_mib=200, ready_seconds=1),
        Running(2, "B", counted_mib=200, anonymous_mib=200, ready_seconds=1),
    ]

    assert why(decide(NEED, machine, running)) == (
        "Qwen3 4B needs about 5,100 MiB; free are 3,200 of 16,000 MiB: 1,024 reserved, "
        "8,200 for 2 servers (A, B), 3,576 used by other programs. "
        "Stop a server, lower ctx_size, or lower MAGI_MEMORY_RESERVE_MIB."
    )


def test_a_refusal_on_an_empty_machine_speaks_of_no_servers() -> None:
    machine = Machine(total_mib=4000, available_mib=3000, reserve_mib=1024)

    assert why(decide(NEED, machine, [])) == (
        "Qwen3 4B needs about 5,100 MiB; free are 1,976 of 4,000 MiB: 1,024 reserved, "
        "1,000 used by other programs. Lower ctx_size, or lower MAGI_MEMORY_RESERVE_MIB."
    )


def test_weights_that_are_mapped_are_not_free_although_the_system_calls_them_available() -> (
    None
):
    # It has read 12,000 MiB of weights, and allocated 500: the rest is page cache.
    running = [server(1, 12_500, resident_mib=12_500, anonymous_mib=500)]
    machine = Machine(total_mib=16_000, available_mib=15_500)

    assert isinstance(decide(NEED, machine, running), Refused)


def test_what_our_servers_allocated_is_not_counted_twice() -> None:
    running = [server(1, 8000, resident_mib=8000, anonymous_mib=8000)]
    machine = Machine(total_mib=16_000, available_mib=8000)

    assert decide(Need("A", 8000), machine, running) == Fits()


def test_a_server_that_takes_more_than_it_was_counted_with_counts_with_what_it_takes() -> None:
    running = [server(1, 1000, resident_mib=12_000)]

    assert isinstance(decide(NEED, IDLE, running), Refused)


def test_a_server_that_has_taken_little_yet_keeps_what_it_was_promised() -> None:
    running = [server(1, 12_000, ready_seconds=None)]

    assert isinstance(decide(NEED, IDLE, running), Refused)


def test_the_budget_of_a_profile_holds_on_a_machine_with_room() -> None:
    assert decide(NEED, IDLE, [server(1, 900)], budget_mib=6000) == Fits()
    assert why(decide(NEED, IDLE, [server(1, 901)], budget_mib=6000)) == (
        "Qwen3 4B needs about 5,100 MiB; the budget of the profile is 6,000 MiB, of which 901 "
        "are for 1 server (Model 1). "
        "Stop a server, lower ctx_size, or raise memory.budget_mib."
    )


def test_a_budget_counts_the_memory_of_gpus_too() -> None:
    machine = Machine(16_000, 16_000, gpus=(Gpu(24_000, 24_000),))
    need = Need("A", ram_mib=100, vram_mib=5000)

    assert isinstance(decide(need, machine, [], budget_mib=5099), Refused)
    assert decide(need, machine, [], budget_mib=5100) == Fits()


# -- GPUs


def test_the_share_of_the_gpus_is_held_against_what_is_free_on_them() -> None:
    machine = Machine(64_000, 64_000, gpus=(Gpu(8192, 3000), Gpu(8192, 2000)))

    assert decide(Need("A", 100, vram_mib=5000), machine, []) == Fits()
    assert why(decide(Need("A", 100, vram_mib=5001), machine, [])) == (
        "A needs about 5,001 MiB of GPU memory; free are 5,000 of 16,384 MiB. "
        "Lower ctx_size or n_gpu_layers."
    )


def test_what_starting_servers_will_still_take_of_the_gpus_is_not_free() -> None:
    machine = Machine(64_000, 64_000, gpus=(Gpu(8192, 6000),))
    starting = server(1, 0, counted_vram_mib=3000, vram_mib=1000, ready_seconds=None)
    ready = server(2, 0, counted_vram_mib=3000, vram_mib=1000)

    assert decide(Need("A", 0, vram_mib=4000), machine, [starting, ready]) == Fits()
    assert "free are 6,000 of 8,192 MiB, less 2,000 for servers that are starting." in why(
        decide(Need("A", 0, vram_mib=4001), machine, [starting, ready])
    )


def test_a_full_gpu_does_not_keep_a_model_from_the_processor() -> None:
    machine = Machine(16_000, 16_000, gpus=(Gpu(8192, 0),))

    assert (
        decide(NEED, machine, [server(1, 0, counted_vram_mib=9, ready_seconds=None)]) == Fits()
    )


def test_a_server_on_the_gpu_gives_way_for_one_that_needs_it() -> None:
    machine = Machine(64_000, 64_000, gpus=(Gpu(8192, 1000),))
    on_processor = server(1, 7000, idle_seconds=900)
    unseen = server(2, 0, counted_vram_mib=7000)  # in a container NVML does not know it

    decision = decide(
        Need("A", 0, vram_mib=8000), machine, [on_processor, unseen], eviction=IDLE_LONGEST
    )

    assert decision == Evict((2,))


def test_all_that_is_too_little_is_told_at_once() -> None:
    machine = Machine(4000, 4000, gpus=(Gpu(8192, 1000),))

    sentence = why(decide(Need("A", 5000, vram_mib=5000), machine, [], budget_mib=9999))

    assert sentence.count("A needs about") == 3


# -- eviction


def test_nobody_is_evicted_unless_the_profile_says_so() -> None:
    assert isinstance(decide(NEED, IDLE, [server(1, 15_000)], eviction="never"), Refused)


def test_the_one_idle_longest_gives_way() -> None:
    running = [
        server(1, 5000, idle_seconds=10),
        server(2, 5000, idle_seconds=30),
        server(3, 5000, idle_seconds=20),
    ]

    assert decide(NEED, IDLE, running, eviction=IDLE_LONGEST) == Evict((2,))


def test_one_large_server_gives_way_before_two_small_ones() -> None:
    running = [
        server(1, 3000, idle_seconds=90),
        server(2, 3000, idle_seconds=80),
        server(3, 8000, idle_seconds=10),
    ]

    assert decide(Need("A", 8000), IDLE, running, eviction=IDLE_LONGEST) == Evict((3,))


def test_of_several_that_must_go_the_ones_idle_longest_go_first() -> None:
    running = [server(number, 5000, idle_seconds=number) for number in (1, 2, 3)]

    assert decide(Need("A", 11_000), IDLE, running, eviction=IDLE_LONGEST) == Evict((3, 2))


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"is_busy": True}, id="it answers a request"),
        pytest.param({"ready_seconds": MIN_RESIDENCY_S - 0.1}, id="only just ready"),
        pytest.param({"ready_seconds": None}, id="still starting"),
    ],
)
def test_a_server_that_cannot_give_way_just_now_is_waited_for(fields: dict[str, Any]) -> None:
    running = [server(1, 15_000, **fields)]

    sentence = why(decide(NEED, IDLE, running, eviction=IDLE_LONGEST))

    assert sentence.startswith("Qwen3 4B waits for memory: Model 1 would have to give way")


def test_a_server_that_may_never_be_evicted_is_not_waited_for() -> None:
    running = [server(1, 15_000, may_be_evicted=False)]

    assert isinstance(decide(NEED, IDLE, running, eviction=IDLE_LONGEST), Refused)


def test_the_memory_of_a_server_that_stops_is_waited_for_by_any_rule() -> None:
    running = [server(1, 15_000, is_stopping=True), server(2, 100)]

    for eviction in ("never", IDLE_LONGEST):
        assert decide(NEED, IDLE, running, eviction=eviction) == Wait(
            "Qwen3 4B waits for the memory of Model 1 to come back."
        )


def test_beside_a_server_that_stops_only_what_is_still_missing_gives_way() -> None:
    running = [
        server(1, 8000, is_stopping=True),
        server(2, 3000, idle_seconds=1),
        server(3, 4000, idle_seconds=9),
    ]

    assert decide(Need("A", 12_000), IDLE, running, eviction=IDLE_LONGEST) == Evict((3,))


def test_what_is_too_large_for_the_machine_evicts_nobody() -> None:
    decision = decide(Need("A", 16_001), IDLE, [server(1)], eviction=IDLE_LONGEST)

    assert "free are 15,000 of 16,000" in why(decision)


def test_a_sentence_names_a_few_servers_and_counts_the_others() -> None:
    running = [server(number, 3000) for number in range(1, 7)]

    assert "for 6 servers (Model 1, Model 2, Model 3, Model 4, 2 more)" in why(
        decide(NEED, IDLE, running)
    )


def test_a_model_in_whose_favour_everything_must_go_is_decided_on_at_once() -> None:
    running = [server(number, 500 + number, idle_seconds=number) for number in range(28)]

    decision = decide(Need("A", 16_000), IDLE, running, eviction=IDLE_LONGEST)

    assert isinstance(decision, Evict)
    assert sorted(decision.server_ids) == list(range(28))


# -- whatever the figures are

amounts = st.integers(0, 9000)
servers = st.lists(
    st.builds(
        Running,
        server_id=st.integers(1, 99),
        name=st.just("A"),
        counted_mib=amounts,
        counted_vram_mib=amounts,
        resident_mib=amounts,
        anonymous_mib=amounts,
        vram_mib=amounts,
        is_busy=st.booleans(),
        is_stopping=st.booleans(),
        idle_seconds=st.floats(0, 1000),
        ready_seconds=st.none() | st.floats(0, 1000),
        may_be_evicted=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda running: running.server_id,
)
machines = st.builds(
    Machine,
    total_mib=st.integers(0, 40_000),
    available_mib=st.integers(0, 40_000),
    reserve_mib=st.integers(0, 2000),
    gpus=st.lists(st.builds(Gpu, amounts, amounts), max_size=2).map(tuple),
)
needs = st.builds(Need, st.just("New"), ram_mib=amounts, vram_mib=amounts)
budgets = st.none() | st.integers(0, 40_000)


def after(running: Sequence[Running], stopped: set[int]) -> list[Running]:
    return [server for server in running if server.server_id not in stopped]


@given(needs, machines, servers, budgets, st.sampled_from(Eviction.values))
def test_nothing_is_launched_over_the_total_or_the_budget(
    need: Need, machine: Machine, running: list[Running], budget: int | None, eviction: str
) -> None:
    decision = decide(need, machine, running, budget_mib=budget, eviction=eviction)

    if isinstance(decision, Fits | Evict):
        stopped = set(decision.server_ids) if isinstance(decision, Evict) else set()
        stopped |= {each.server_id for each in running if each.is_stopping and stopped}
        left = after(running, stopped)
        others = max(
            0,
            machine.total_mib
            - machine.available_mib
            - sum(each.anonymous_mib for each in running),
        )
        ours = sum(max(each.counted_mib, each.resident_mib) for each in left)
        assert need.ram_mib + ours + others + machine.reserve_mib <= machine.total_mib
        if budget is not None:
            on_gpus = sum(max(each.counted_vram_mib, each.vram_mib) for each in left)
            assert need.ram_mib + need.vram_mib + ours + on_gpus <= budget


@given(needs, machines, servers, budgets)
def test_only_idle_servers_that_may_go_are_evicted_and_no_more_than_needed(
    need: Need, machine: Machine, running: list[Running], budget: int | None
) -> None:
    decision = decide(need, machine, running, budget_mib=budget, eviction=IDLE_LONGEST)

    if isinstance(decision, Evict):
        by_id = {each.server_id: each for each in running}
        chosen = [by_id[server_id] for server_id in decision.server_ids]
        assert chosen
        for each in chosen:
            assert each.may_be_evicted
            assert not each.is_busy
            assert not each.is_stopping
            assert each.ready_seconds is not None
            assert each.ready_seconds >= MIN_RESIDENCY_S
        idle = [each.idle_seconds for each in chosen]
        assert idle == sorted(idle, reverse=True)


@given(
    st.integers(0, 40_000),
    st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 99)), max_size=6),
)
def test_the_fewest_are_evicted_and_of_those_the_ones_idle_longest(
    need_mib: int, sizes: list[tuple[int, int]]
) -> None:
    running = [
        server(number, counted_mib, idle_seconds=float(idle))
        for number, (counted_mib, idle) in enumerate(sizes)
    ]
    machine = Machine(total_mib=40_000, available_mib=40_000)
    order = sorted(running, key=lambda each: (-each.idle_seconds, each.server_id))

    decision = decide(Need("New", need_mib), machine, running, eviction=IDLE_LONGEST)

    expected = next(
        tuple(each.server_id for each in chosen)
        for count in range(len(order) + 1)
        for chosen in combinations(order, count)
        if need_mib + sum(each.counted_mib for each in order if each not in chosen) <= 40_000
    )
    assert decision == (Evict(expected) if expected else Fits())


@given(needs, machines, servers, budgets)
def test_when_all_that_may_go_would_not_be_enough_nobody_goes_and_nobody_waits(
    need: Need, machine: Machine, running: list[Running], budget: int | None
) -> None:
    decision = decide(need, machine, running, budget_mib=budget, eviction=IDLE_LONGEST)
    empty = [each for each in running if not each.may_be_evicted and not each.is_stopping]
    allocated = sum(each.anonymous_mib for each in running)
    used = max(0, machine.total_mib - machine.available_mib - allocated)
    ram = sum(max(each.counted_mib, each.resident_mib) for each in empty)

    if need.ram_mib + ram + used + machine.reserve_mib > machine.total_mib:
        assert isinstance(decision, Refused)
