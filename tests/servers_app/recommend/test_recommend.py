"""What is recommended of a registry, on machines of every class."""

from datetime import UTC, datetime

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from models_app.models import ModelKind
from profiles_app.models import BaseRunSettings, ModelRunSettings
from profiles_app.runsettings import resolve
from servers_app.benchmark_models import Benchmark, BenchmarkState
from servers_app.errors import NoHardwareError, UnknownTaskKindError
from servers_app.memory import key_of
from servers_app.models import MemoryMeasurement, Node
from servers_app.recommend.places import place_of
from servers_app.recommend.service import Recommendations, recommend
from tests.conftest import MakeModel
from tests.servers_app.recommend.conftest import FLAGS, NODE, MakeNode, OnNode
from tests.servers_app.recommend.machines import gpu, hardware

pytestmark = pytest.mark.django_db


def found(task: str = "general") -> Recommendations:
    return recommend(place_of(NODE), task)


def ids(found: Recommendations) -> list[str]:
    return [each.model.model_id for each in found.recommended]


def why_not(found: Recommendations) -> dict[str, str]:
    return {each.model_id: each.why for each in found.others}


@pytest.fixture
def all_sizes(on_node: OnNode) -> None:
    for model_id, billions in [
        ("tiny", 0.6),
        ("two", 2),
        ("four", 4),
        ("nine", 9),
        ("big", 32),
    ]:
        on_node(model_id, billions)


@pytest.mark.usefixtures("all_sizes")
@pytest.mark.parametrize(
    ("available_gib", "best"),
    [
        pytest.param(3, "tiny", id="below 4: the smallest"),
        pytest.param(5, "two", id="4 to 8: 2B"),
        pytest.param(7.9, "two", id="just below 8"),
        pytest.param(8, "four", id="8 to 16: 4B"),
        pytest.param(12, "four", id="between"),
        pytest.param(16, "four", id="16"),
        pytest.param(18, "nine", id="above 16: 9B, of which the larger does not fit"),
        pytest.param(64, "big", id="quality first"),
    ],
)
def test_the_size_that_the_rule_names_comes_first(
    make_node: MakeNode, available_gib: float, best: str
) -> None:
    make_node(hardware(available_gib, cores=8))

    assert ids(found())[0] == best


@pytest.mark.usefixtures("all_sizes")
def test_each_has_its_reasons_and_the_parts_of_its_memory(make_node: MakeNode) -> None:
    make_node(hardware(24, cores=8))

    first, second, *_ = found().recommended
    told = first.as_json()

    assert first.reasons[0].startswith("Preferred: ")
    assert f"less than {first.model.display_name}." in second.reasons[0]
    assert any(reason.startswith("It fits with a context of ") for reason in first.reasons)
    parts = told["memory"]
    assert parts["weights_mib"] + parts["kv_cache_mib"] + parts["compute_mib"] == pytest.approx(
        parts["estimated_mib"], abs=3
    )
    assert parts["ram_mib"] == parts["total_mib"]


@pytest.mark.usefixtures("all_sizes")
def test_what_does_not_fit_is_told_with_how_much_is_missing(make_node: MakeNode) -> None:
    make_node(hardware(12))

    why = why_not(found())["big"]

    assert why == (
        "Too large: it needs 18,628 MiB with the shortest context, and there are 11,264 MiB."
    )


@pytest.mark.usefixtures("all_sizes")
def test_where_nothing_fits_it_says_what_would_help(make_node: MakeNode) -> None:
    make_node(hardware(1.2))

    nothing = found()

    assert ids(nothing) == []
    assert "the smallest, tiny, needs" in nothing.warning
    assert "pull a smaller model" in nothing.warning


def test_without_a_model_it_says_how_to_get_one(make_node: MakeNode) -> None:
    make_node(hardware(16))

    assert "`manage.py pull` gets more." in found().warning


def test_what_cannot_do_the_task_is_told_and_why(
    make_node: MakeNode, on_node: OnNode, make_model: MakeModel
) -> None:
    make_node(hardware(16))
    on_node("four", 4)
    on_node("embeds", 0.3, kind=ModelKind.EMBEDDING, assigned_tier="")
    on_node("broken", 4, problem="Its second shard is missing.")
    on_node("gone", 4, is_missing=True)
    make_model("at_home")

    seen = found()

    assert ids(seen) == ["four"]
    assert why_not(seen) == {
        "embeds": "It turns text into vectors, and writes none.",
        "broken": "Its second shard is missing.",
        "gone": "Its file has gone. `manage.py rescan` looks again.",
        "at_home": "Its files are on node local.",
    }
    assert ids(found("embedding")) == ["embeds"]
    assert ids(found("vision")) == []


def test_a_coder_is_preferred_for_code(make_node: MakeNode, on_node: OnNode) -> None:
    make_node(hardware(16))
    on_node("writer", 4)
    on_node("coder", 4, is_coder=True)

    assert ids(found("general"))[0] == "writer"
    assert ids(found("coding"))[0] == "coder"


def test_a_benchmark_of_this_machine_says_how_fast_it_is(
    make_node: MakeNode, on_node: OnNode
) -> None:
    make_node(hardware(16, bandwidth_gb_per_s=20))
    on_node("four", 4)
    on_node("other", 4)
    for node, speed in ((NODE, 12.5), ("local", 99.0)):
        Benchmark.objects.create(
            model_id="four",
            node=node,
            state=BenchmarkState.FINISHED,
            generation_tokens_per_s=speed,
            finished_at=datetime(2026, 11, 20, tzinfo=UTC),
        )

    speeds = {each.model.model_id: each.speed.as_json() for each in found().recommended}

    assert speeds["four"]["tokens_per_s"] == 12.5
    assert speeds["four"]["how"] == "measured here on 2026-11-20"
    assert speeds["other"]["source"] == "bandwidth"
    assert "the 30 GB/s that 1 model reached here" in speeds["other"]["how"]
    assert speeds["other"]["tokens_per_s"] < 12.5  # it has a conversation in its cache


def test_without_a_benchmark_the_speed_is_reckoned_from_the_memory(
    make_node: MakeNode, on_node: OnNode
) -> None:
    make_node(hardware(16, bandwidth_gb_per_s=20))
    on_node("four", 4)

    speed = found().recommended[0].speed

    assert "at 45% of the memory's 20 GB/s" in speed.how  # three of four cores at work
    assert speed.tokens_per_s == pytest.approx(3.37, abs=0.01)


def test_where_the_bandwidth_is_not_known_neither_is_the_speed(
    make_node: MakeNode, on_node: OnNode
) -> None:
    make_node(hardware(16))
    on_node("four", 4)

    assert found().recommended[0].speed.as_json()["source"] == "none"


def test_a_small_machine_prefers_the_faster_model(make_node: MakeNode, on_node: OnNode) -> None:
    on_node("two", 2)
    on_node("six", 6)
    make_node(hardware(15, cores=8, bandwidth_gb_per_s=12))
    slow = ids(found())
    Node.objects.update(hardware=hardware(15, cores=8, bandwidth_gb_per_s=100).as_json())

    assert slow == ["two", "six"]
    assert ids(found()) == ["six", "two"]


def test_a_larger_model_that_was_seen_to_be_fast_may_come_first(
    make_node: MakeNode, on_node: OnNode
) -> None:
    make_node(hardware(12))
    on_node("four", 4)
    on_node("nine", 9)
    before = ids(found())
    Benchmark.objects.create(
        model_id="nine", node=NODE, state=BenchmarkState.FINISHED, generation_tokens_per_s=30
    )

    after = found()

    assert before[0] == "four"
    assert ids(after)[0] == "nine"
    assert any("was seen to be fast here" in reason for reason in after.recommended[0].reasons)


def test_the_layers_that_fit_go_to_the_gpus(make_node: MakeNode, on_node: OnNode) -> None:
    make_node(hardware(16, gpus=(gpu(3.5), gpu(3.5))), has_devices=True)
    on_node("nine", 9, context_length=8192)

    fit = found().recommended[0].fit

    assert fit.n_gpu_layers == 30  # of 33 with 193 MiB each: 15 on each GPU
    assert fit.needed.vram_mib <= 2 * (3584 - 512)
    assert fit.needed.ram_mib + fit.needed.vram_mib == fit.total_mib


def test_a_gpu_that_the_engine_cannot_use_is_left_out_and_that_is_said(
    make_node: MakeNode, on_node: OnNode
) -> None:
    make_node(hardware(16, gpus=(gpu(24),)))
    on_node("four", 4)

    seen = found()

    assert seen.recommended[0].fit.n_gpu_layers is None
    assert "n_gpu_layers" not in seen.recommended[0].run_settings
    assert "A GPU: left out" in seen.place.words()
    assert seen.floor.model_class == "4B"  # by the 16 GiB beside it


def test_only_what_the_engine_knows_is_in_the_run_settings(
    make_node: MakeNode, on_node: OnNode
) -> None:
    few = {name: FLAGS[name] for name in ("--model", "--ctx-size", "--parallel", "--threads")}
    make_node(hardware(6, cores=8), flags=few)
    on_node("four", 4, context_length=32_768)

    best = found().recommended[0]

    assert best.run_settings == {
        "ctx_size": best.fit.ctx_size, "threads": 6, "parallel": 1
    }  # fmt: skip
    assert best.fit.cache_type == "f16"


def test_a_coarser_cache_is_given_where_the_engine_takes_it(
    make_node: MakeNode, on_node: OnNode
) -> None:
    make_node(hardware(4.2, cores=8))
    on_node("four", 4)

    best = found().recommended[0]

    assert best.fit.cache_type == "q8_0"
    assert best.run_settings == {
        "ctx_size": 8192,
        "threads": 6,
        "parallel": 2,
        "kv_unified": True,
        "flash_attn": "on",
        "cache_type_k": "q8_0",
        "cache_type_v": "q8_0",
        "batch_size": 256,
        "ubatch_size": 128,
    }


def test_a_cache_type_that_the_heads_cannot_be_cut_into_is_not_given(
    make_node: MakeNode, on_node: OnNode
) -> None:
    make_node(hardware(5))
    on_node("odd", 4, metadata={"block_count": 32, "head_count_kv": 8, "key_length": 120})

    assert found().recommended[0].fit.cache_type == "f16"


def test_what_people_set_for_a_model_counts_and_the_cache_is_as_it_was_reckoned(
    make_node: MakeNode, on_node: OnNode
) -> None:
    make_node(hardware(64))
    model = on_node("four", 4, context_length=8192)
    plain = found().recommended[0]
    ModelRunSettings.objects.create(
        model_id=model.model_id, run_settings={"cache_type_k": "q4_0", "ubatch_size": 512}
    )
    BaseRunSettings.objects.update_or_create(pk=1, defaults={"run_settings": {}})

    seen = found().recommended[0]

    assert seen.run_settings["cache_type_k"] == "f16"
    assert seen.fit.estimate.kv_cache_bytes == plain.fit.estimate.kv_cache_bytes
    assert seen.fit.estimate.compute_bytes == 2 * plain.fit.estimate.compute_bytes


def test_what_a_launch_was_seen_to_take_counts_instead_of_the_estimate(
    make_node: MakeNode, on_node: OnNode
) -> None:
    make_node(hardware(16))
    model = on_node("four", 4, context_length=8192)
    best = found().recommended[0]
    settings = resolve(
        [("test", best.run_settings)], model_context=8192, cores=8, allowed_args=()
    )
    key = key_of(model, settings, "11434 (abc1234)", NODE)
    MemoryMeasurement.objects.create(**key, ram_mib=4321, vram_mib=0)

    seen = found().recommended[0]

    assert seen.fit.total_mib == 4321
    assert any("4,321 MiB, as measured here." in reason for reason in seen.reasons)


def test_whether_it_fits_now_is_told_apart_from_whether_it_fits(
    on_node: OnNode, settings: Settings, make_node: MakeNode
) -> None:
    make_node(hardware(16, 4))
    on_node("four", 4, context_length=4096)
    on_node("nine", 9, context_length=4096)

    seen = {each.model.model_id: each.fits_now for each in found().recommended}

    assert seen == {"four": True}
    assert why_not(found())["nine"].startswith("Too large")


def test_a_node_keeps_for_its_system_what_it_is_set_to(make_node: MakeNode) -> None:
    node = make_node(hardware(16))
    node.facts = {"memory_reserve_mib": 6000}
    node.save()

    assert place_of(NODE).room.ram_mib == 16 * 1024 - 6000


def test_a_node_that_is_not_there_or_has_said_nothing_is_told(make_node: MakeNode) -> None:
    Node.objects.create(name="silent")

    with pytest.raises(NoHardwareError, match=r"no node 'nowhere'\. Available: local, silent"):
        place_of("nowhere")
    with pytest.raises(NoHardwareError, match="has not said yet what it has"):
        place_of("silent")
    with pytest.raises(NoHardwareError):
        place_of("nul\0")


def test_an_unknown_task_is_refused_with_those_there_are(make_node: MakeNode) -> None:
    make_node(hardware(16))

    with pytest.raises(UnknownTaskKindError, match="coding"):
        found("chess")


def test_queries_do_not_grow_with_the_models(
    make_node: MakeNode,
    on_node: OnNode,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    make_node(hardware(64))
    for number in range(12):
        on_node(f"m{number}", 4)

    with django_assert_max_num_queries(12):
        assert len(ids(found())) == 12


def test_this_machine_is_looked_at_itself(settings: Settings, make_model: MakeModel) -> None:
    make_model("four", size_bytes=2**20, context_length=4096)
    Node.objects.create(
        name=settings.MAGI_NODE,
        hardware=hardware(1, bandwidth_gb_per_s=7).as_json(),
        heartbeat_at=timezone.now(),
    )

    place = place_of()

    assert place.node == settings.MAGI_NODE
    assert place.hardware.cpu != "A made-up processor"
    assert place.hardware.memory_bandwidth_bytes_per_s == 7_000_000_000
    assert recommend(place).recommended[0].model.model_id == "four"
