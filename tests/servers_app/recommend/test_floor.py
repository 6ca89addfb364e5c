"""The rules by memory and cores: each class, and each of its ends."""

import pytest

from servers_app.recommend.floor import MachineClass, ModelClass, floor_of
from tests.servers_app.recommend.machines import GIB, gpu, hardware


@pytest.mark.parametrize(
    ("available_gib", "model_class"),
    [
        pytest.param(1, "smallest", id="very little"),
        pytest.param(3.99, "smallest", id="just below 4"),
        pytest.param(4, "2B", id="4"),
        pytest.param(6, "2B", id="between 4 and 8"),
        pytest.param(7.99, "2B", id="just below 8"),
        pytest.param(8, "4B", id="8"),
        pytest.param(12, "4B", id="between 8 and 16"),
        pytest.param(16, "4B", id="16 is not above 16"),
        pytest.param(16.01, "9B+", id="just above 16"),
        pytest.param(64, "9B+", id="much"),
    ],
)
def test_the_memory_that_is_available_says_which_size_of_model(
    available_gib: float, model_class: str
) -> None:
    assert floor_of(hardware(128, available_gib)).model_class == model_class


@pytest.mark.parametrize(
    ("total_gib", "cores", "machine_class", "preset"),
    [
        pytest.param(32, 8, "high-end", "quality", id="32 GB and 8 cores"),
        pytest.param(64, 16, "high-end", "quality", id="more of both"),
        pytest.param(31.2, 8, "high-end", "quality", id="sold as 32 GB"),
        pytest.param(31, 8, "mid-range", "balanced", id="31 GB are not 32"),
        pytest.param(64, 7, "mid-range", "balanced", id="too few cores for high-end"),
        pytest.param(16, 2, "mid-range", "balanced", id="16 GB"),
        pytest.param(15.6, 4, "mid-range", "balanced", id="sold as 16 GB"),
        pytest.param(15, 16, "low-end", "fast", id="many cores do not make up for memory"),
        pytest.param(8, 4, "low-end", "fast", id="8 GB"),
        pytest.param(2, 1, "low-end", "fast", id="2 GB"),
    ],
)
def test_memory_and_cores_say_which_class_and_which_preset(
    total_gib: float, cores: int, machine_class: str, preset: str
) -> None:
    floor = floor_of(hardware(total_gib, cores=cores))

    assert floor.machine_class == machine_class
    assert floor.preset == preset


@pytest.mark.parametrize(
    ("available_gib", "max_tokens", "context_length"),
    [
        (2, 512, 2048),
        (4, 512, 2048),
        (7.99, 512, 2048),
        (8, 1024, 4096),
        (16, 1024, 4096),
        (16.01, 2048, 8192),
        (64, 2048, 8192),
    ],
)
def test_more_memory_is_for_longer_answers_and_conversations(
    available_gib: float, max_tokens: int, context_length: int
) -> None:
    floor = floor_of(hardware(64, available_gib))

    assert (floor.max_tokens, floor.context_length) == (max_tokens, context_length)


@pytest.mark.parametrize(
    ("cores", "threads", "batch"),
    [(1, 1, 1), (2, 1, 1), (4, 3, 1), (7, 6, 1), (8, 6, 2), (16, 14, 2)],
)
def test_a_core_or_two_are_left_and_many_cores_work_on_two_requests(
    cores: int, threads: int, batch: int
) -> None:
    floor = floor_of(hardware(cores=cores))

    assert (floor.num_threads, floor.batch_size) == (threads, batch)


@pytest.mark.parametrize(("limit", "threads"), [(2.5, 1), (0.5, 1), (8.0, 6), (64.0, 14)])
def test_a_container_has_the_cores_that_it_may_use(limit: float, threads: int) -> None:
    assert floor_of(hardware(cores=16, cpu_limit=limit)).num_threads == threads


def test_too_little_memory_is_warned_of_with_what_to_do() -> None:
    floor = floor_of(hardware(8, 3.5))

    assert "Only 3.5 GiB" in floor.warning
    assert "end other programs" in floor.warning
    assert floor_of(hardware(8)).warning == ""


def test_what_our_own_servers_have_counts_as_available() -> None:
    busy = hardware(16, 3)

    assert floor_of(busy).model_class == ModelClass.SMALLEST
    assert floor_of(busy, ours_bytes=6 * GIB).model_class == ModelClass.FOUR
    assert floor_of(busy, ours_bytes=600 * GIB).model_class == ModelClass.FOUR  # not above all


def test_a_gpu_with_more_than_the_machine_says_which_size_of_model() -> None:
    assert floor_of(hardware(8, gpus=(gpu(24),))).model_class == ModelClass.NINE
    assert floor_of(hardware(8, gpus=(gpu(24, shares_memory=True),))).model_class == "4B"
    assert floor_of(hardware(8, gpus=(gpu(24),))).machine_class == MachineClass.LOW_END


def test_what_our_own_servers_have_of_a_gpu_counts_as_free() -> None:
    busy = hardware(8, gpus=(gpu(24, 1),))

    assert floor_of(busy).model_class == ModelClass.FOUR
    assert floor_of(busy, ours_vram_bytes=20 * GIB).model_class == ModelClass.NINE
    assert "24.0 GiB" in floor_of(busy, ours_vram_bytes=600 * GIB).reasons[1]


@pytest.mark.parametrize(
    ("model_class", "billions", "has"),
    [
        (ModelClass.SMALLEST, 1.0, True),
        (ModelClass.SMALLEST, 1.5, False),
        (ModelClass.TWO, 3.2, True),
        (ModelClass.TWO, 3.5, False),
        (ModelClass.FOUR, 6.9, True),
        (ModelClass.FOUR, 7.0, False),
        (ModelClass.NINE, 405.0, True),
        (ModelClass.TWO, None, True),
    ],
)
def test_a_class_has_its_models_and_smaller_ones(
    model_class: ModelClass, billions: float | None, has: bool
) -> None:
    assert model_class.has(billions) is has


def test_the_floor_says_why() -> None:
    told = floor_of(hardware(16, 12)).as_json()

    assert told["reasons"] == [
        "16.0 GiB of memory and 4 cores: a mid-range machine, preset balanced",
        "12.0 GiB available: models of about 4B",
    ]
