"""How a model is put into memory: context before cache type, layers where they fit."""

import pytest

from models_app.memory import MemoryEstimate
from servers_app.recommend.fitting import (
    MIB,
    Fit,
    Needed,
    Room,
    Trial,
    best_fit,
    contexts,
    place,
    trials,
)

BITS = {"f16": 16.0, "q8_0": 8.5, "q4_0": 4.5}


def estimate(trial: Trial) -> MemoryEstimate:
    """1,000 MiB of weights, and 1 MiB for each 16 tokens in f16."""
    cache = trial.ctx_size * BITS[trial.cache_type] / 16 / 16
    return MemoryEstimate(1000 * MIB, round(cache * MIB), 0)


def fitted(
    room: Room, trained: int | None = 32768, types: tuple[str, ...] = tuple(BITS)
) -> str:
    attempts = trials(contexts(trained), types)
    fit = best_fit(attempts, estimate, block_count=9, room=room)
    return f"{fit.ctx_size} {fit.cache_type}" if fit else "nothing"


@pytest.mark.parametrize(
    ("trained", "expected"),
    [
        (None, [32768, 16384, 8192, 4096]),
        (4096, [4096]),
        (2048, [2048]),
        (6000, [6000, 4096]),
        (40960, [40960, 32768, 16384, 8192, 4096]),
    ],
)
def test_contexts_go_from_what_was_trained_down_by_halves(
    trained: int | None, expected: list[int]
) -> None:
    assert contexts(trained) == expected


def test_a_file_may_claim_any_context() -> None:
    assert contexts(2**62)[0] == 10_000_000


@pytest.mark.parametrize(
    ("ram_mib", "expected"),
    [
        pytest.param(10_000, "32768 f16", id="all of it"),
        pytest.param(3_047, "16384 f16", id="half of it, rather than a coarser cache"),
        pytest.param(1_512, "8192 f16", id="as much as is useful"),
        pytest.param(1_511, "8192 q8_0", id="a coarser cache, for a useful context"),
        pytest.param(1_271, "8192 q4_0", id="the coarsest"),
        pytest.param(1_143, "4096 q8_0", id="then a shorter context, as fine as it can be"),
        pytest.param(1_072, "4096 q4_0", id="the least"),
        pytest.param(1_071, "nothing", id="too little"),
    ],
)
def test_the_longest_context_is_chosen_and_the_cache_made_coarser_only_for_a_useful_one(
    ram_mib: int, expected: str
) -> None:
    assert fitted(Room(ram_mib)) == expected


def test_a_cache_type_that_the_engine_does_not_know_is_not_tried() -> None:
    assert fitted(Room(1_511), types=("f16",)) == "4096 f16"


def test_all_layers_go_to_a_gpu_that_holds_them() -> None:
    fit = place(
        Trial(4096, "f16"), estimate(Trial(4096, "f16")), block_count=9, room=Room(0, (1300,))
    )

    assert (fit.n_gpu_layers, fit.layers, fit.needed) == ("all", 10, Needed(0, 1256))


def test_the_layers_that_do_not_fit_a_gpu_stay_in_memory() -> None:
    fit = place(
        Trial(4096, "f16"), estimate(Trial(4096, "f16")), block_count=9, room=Room(9999, (500,))
    )

    assert fit.n_gpu_layers == 3  # of 126 MiB each
    assert fit.needed == Needed(1256 - 377, 377)


def test_a_layer_lies_on_one_of_several_gpus() -> None:
    room = Room(9999, (200, 200))  # a layer each: what is left of them is not one more
    fit = place(Trial(4096, "f16"), estimate(Trial(4096, "f16")), block_count=9, room=room)

    assert fit.n_gpu_layers == 2


def test_a_model_that_does_not_tell_its_layers_goes_to_a_gpu_as_a_whole_or_not() -> None:
    trial = Trial(4096, "f16")
    whole = place(trial, estimate(trial), block_count=None, room=Room(9999, (1256,)))
    none = place(trial, estimate(trial), block_count=None, room=Room(9999, (1255,)))

    assert (whole.n_gpu_layers, whole.needed.vram_mib) == ("all", 1256)
    assert (none.n_gpu_layers, none.needed.vram_mib) == (0, 0)


def test_without_a_gpu_nothing_is_said_of_layers() -> None:
    trial = Trial(4096, "f16")

    assert place(trial, estimate(trial), block_count=9, room=Room(9999)).n_gpu_layers is None


def test_a_gpu_makes_up_for_memory_that_is_missing() -> None:
    fit = best_fit(iter([Trial(4096, "f16")]), estimate, block_count=9, room=Room(900, (400,)))

    assert fit is not None
    assert fit.n_gpu_layers == 3


def test_what_was_measured_counts_instead_of_the_estimate() -> None:
    def measured(fit: Fit) -> Needed | None:
        return Needed(5000, 0) if fit.ctx_size == 32768 else None

    fit = best_fit(
        trials(contexts(32768), ["f16"]),
        estimate,
        block_count=9,
        room=Room(4000),
        measured=measured,
    )

    assert fit is not None
    assert (fit.ctx_size, fit.is_measured) == (16384, False)


def test_gpus_give_in_their_order() -> None:
    assert Room(1000, (100, 200)).less(Needed(300, 150)) == Room(700, (0, 150))
