"""The ledger: what a launch needs, what was seen of it, and what runs; no processes here."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from models_app.models import DiscoveredModel
from profiles_app.models import ModelRunSettings
from profiles_app.resolution import memory_mib, settings_of
from profiles_app.runsettings import Setting
from servers_app import hardware, memory
from servers_app.admission import Evict, Fits, Machine, Need, Refused, Wait
from servers_app.hardware import nvidia
from servers_app.memory import Usage, admit, key_of, need_of, running_on
from servers_app.models import EngineBuild, MemoryMeasurement, Server, ServerState
from tests.conftest import MakeModel, MakeServer
from tests.servers_app.nvml_stand_in import StandInGpu, StandInNvml

pytestmark = pytest.mark.django_db

HEADER = {"block_count": 31, "head_count": 8, "head_count_kv": 8, "embedding_length": 1024}
BUILD = "0.6.0-dev (build 11434, commit abc)"

Settings_ = dict[str, Setting]


@pytest.fixture
def model(make_model: MakeModel) -> DiscoveredModel:
    return make_model(metadata=HEADER)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def use(*found: StandInGpu) -> None:
        monkeypatch.setattr(nvidia, "pynvml", StandInNvml(*found))

    use()
    return use


@pytest.fixture
def ready(make_server: MakeServer, model: DiscoveredModel) -> Server:
    now = timezone.now()
    return make_server(
        model, state=ServerState.READY, build=BUILD, launched_at=now, ready_at=now
    )


def record(server: Server, usage: Usage, settings: Settings_) -> None:
    """Record what a server took that was launched with `settings`."""
    key = key_of(server.model, settings, server.build, server.node)
    server.facts = {name: key[name] for name in ("ctx_size", "shape")}
    memory.record(server, usage)


def resolved(model: DiscoveredModel, **run_settings: Any) -> Settings_:
    if run_settings:
        ModelRunSettings.objects.update_or_create(
            model_id=model.model_id, defaults={"run_settings": run_settings}
        )
    return settings_of(model, None)


def needed(model: DiscoveredModel, settings: Settings_, build: str = BUILD) -> tuple[int, int]:
    need = need_of(model, settings, build, "local")
    return need.ram_mib, need.vram_mib


# -- what a launch needs


def test_a_model_that_never_ran_needs_what_is_estimated(
    model: DiscoveredModel, gpus: Callable[..., None]
) -> None:
    settings = resolved(model)

    assert need_of(model, settings, BUILD, "local") == Need(
        model.display_name, ram_mib=memory_mib(model, settings)
    )


def test_a_model_that_ran_needs_what_it_was_seen_to_take(
    model: DiscoveredModel, ready: Server, gpus: Callable[..., None]
) -> None:
    settings = resolved(model)
    record(ready, Usage(resident_mib=1234), settings)

    assert needed(model, settings) == (1234, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"ctx_size": 2048},
        {"parallel": 4},
        {"cache_type_k": "q8_0"},
        {"ubatch_size": 64},
        {"n_gpu_layers": 3},
        {"mmproj": "/models/mmproj.gguf"},
        {"lora": ["/models/lora.gguf"]},
        {"model_draft": "/models/draft.gguf"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_was_seen_with_other_settings_says_nothing(
    model: DiscoveredModel, ready: Server, gpus: Callable[..., None], change: dict[str, Any]
) -> None:
    record(ready, Usage(resident_mib=1234), resolved(model))

    settings = resolved(model, **change)

    assert needed(model, settings) == (memory_mib(model, settings), 0)


def test_what_another_build_or_node_or_file_was_seen_to_take_says_nothing(
    model: DiscoveredModel, ready: Server, gpus: Callable[..., None]
) -> None:
    settings = resolved(model)
    record(ready, Usage(resident_mib=1234), settings)

    estimated = memory_mib(model, settings)
    assert needed(model, settings, "8951 (abc1234)") == (estimated, 0)
    assert need_of(model, settings, BUILD, "box2").ram_mib == estimated
    model.size_bytes += 2**20
    assert needed(model, settings) == (estimated + 1, 0)


def test_settings_of_any_length_are_told_apart(
    model: DiscoveredModel, ready: Server, gpus: Callable[..., None]
) -> None:
    path = f"/models/{'x' * 900}"
    settings = resolved(model, model_draft=f"{path}1.gguf")
    record(ready, Usage(resident_mib=1234), settings)

    assert needed(model, settings) == (1234, 0)
    assert needed(model, resolved(model, model_draft=f"{path}2.gguf")) != (1234, 0)


# -- on GPUs


@pytest.mark.parametrize(
    ("n_gpu_layers", "share"),
    [(0, 0.0), (8, 0.25), (32, 1.0), (99, 1.0), ("all", 1.0), ("auto", 1.0)],
)
def test_the_share_of_its_layers_goes_to_the_gpu(
    model: DiscoveredModel, gpus: Callable[..., None], n_gpu_layers: int | str, share: float
) -> None:
    gpus(StandInGpu())
    settings = resolved(model, n_gpu_layers=n_gpu_layers)
    estimated = memory_mib(model, settings)

    ram, vram = needed(model, settings)

    assert vram == round(estimated * share)
    assert ram + vram == estimated


def test_auto_puts_on_the_gpu_what_fits_there(
    model: DiscoveredModel, gpus: Callable[..., None]
) -> None:
    gpus(StandInGpu(free_mib=100), StandInGpu(free_mib=50))
    settings = resolved(model, n_gpu_layers="auto")

    assert needed(model, settings) == (memory_mib(model, settings) - 150, 150)


def test_an_engine_that_knows_no_gpu_takes_the_machines_memory(
    model: DiscoveredModel, gpus: Callable[..., None]
) -> None:
    gpus(StandInGpu())
    settings = resolved(model)
    EngineBuild.objects.create(node="local", path="embedded", version=BUILD, devices=[])
    assert needed(model, settings) == (memory_mib(model, settings), 0)

    EngineBuild.objects.update(devices=[{"name": "CUDA0"}])
    assert needed(model, settings) == (0, memory_mib(model, settings))


def test_gpu_memory_that_could_not_be_seen_is_still_counted(
    model: DiscoveredModel, ready: Server, gpus: Callable[..., None]
) -> None:
    gpus(StandInGpu())
    settings = resolved(model)
    record(ready, Usage(resident_mib=300, vram_mib=0), settings)
    assert needed(model, settings) == (300, memory_mib(model, settings))

    record(ready, Usage(resident_mib=300, vram_mib=900), settings)
    assert needed(model, settings) == (300, 900)


# -- what is remembered


def test_the_most_of_a_launch_is_remembered(model: DiscoveredModel, ready: Server) -> None:
    settings = resolved(model)
    for resident, vram in ((500, 70), (900, 20), (700, 60)):
        record(ready, Usage(resident_mib=resident, vram_mib=vram), settings)

    seen = MemoryMeasurement.objects.get()
    assert (seen.ram_mib, seen.vram_mib) == (900, 70)
    ready.refresh_from_db()
    assert ready.peak_mib == 920


@pytest.mark.parametrize("later", [800, 900])
def test_a_later_launch_replaces_what_an_earlier_one_took(
    model: DiscoveredModel, ready: Server, later: int
) -> None:
    settings = resolved(model)
    record(ready, Usage(resident_mib=900), settings)
    MemoryMeasurement.objects.update(measured_at=timezone.now() - timedelta(hours=1))

    for resident in (later, 700):
        record(ready, Usage(resident_mib=resident), settings)

    assert MemoryMeasurement.objects.get().ram_mib == later


@pytest.mark.parametrize("state", [ServerState.STARTING, ServerState.STOPPING])
def test_a_server_that_has_not_all_its_memory_is_not_remembered(
    model: DiscoveredModel, ready: Server, state: ServerState
) -> None:
    ready.state = state

    record(ready, Usage(resident_mib=10), resolved(model))

    assert not MemoryMeasurement.objects.exists()


def test_a_process_that_has_gone_is_not_remembered_as_one_without_memory(
    model: DiscoveredModel, ready: Server
) -> None:
    record(ready, Usage(), resolved(model))

    assert not MemoryMeasurement.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_that_remember_at_once_keep_one_row_with_the_most(
    model: DiscoveredModel, ready: Server
) -> None:
    settings = resolved(model)
    barrier = threading.Barrier(4)

    def remember(resident: int) -> None:
        barrier.wait()
        try:
            record(ready, Usage(resident_mib=resident), settings)
        finally:
            connection.close()

    threads = [threading.Thread(target=remember, args=(mib,)) for mib in (10, 40, 30, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert MemoryMeasurement.objects.get().ram_mib == 40


# -- what runs


def test_servers_that_have_memory_are_counted_with_what_they_were_promised(
    make_model: MakeModel, make_server: MakeServer, gpus: Callable[..., None]
) -> None:
    now = timezone.now()
    used = now - timedelta(seconds=30)
    a, b, c, d, e = (make_model(name, metadata=HEADER) for name in "abcde")
    make_server(a, state=ServerState.STARTING, port=1, memory_mib=500)
    make_server(
        b, state=ServerState.READY, port=2, memory_mib=600, ready_at=now - timedelta(60)
    )
    make_server(c, state=ServerState.STOPPING, port=3, memory_mib=700, ready_at=used)
    make_server(d, state=ServerState.STOPPED, memory_mib=800)
    make_server(e, state=ServerState.READY, port=5, memory_mib=900, node="box2")
    Server.objects.filter(model=b).update(last_used_at=used)

    starting, ready, stopping = running_on("local")

    assert (starting.name, starting.counted_mib, starting.ready_seconds) == ("A", 500, None)
    assert (ready.counted_mib, ready.is_stopping) == (600, False)
    assert ready.idle_seconds == pytest.approx(30, abs=20)
    assert ready.ready_seconds == pytest.approx(60 * 86_400, abs=20)
    assert (stopping.counted_mib, stopping.is_stopping) == (700, True)
    assert not stopping.is_evictable_now


def test_a_server_that_was_promised_nothing_counts_with_the_estimate(
    make_server: MakeServer, model: DiscoveredModel, gpus: Callable[..., None]
) -> None:
    make_server(model, state=ServerState.READY)

    (running,) = running_on("local")

    assert running.counted_mib == memory_mib(model, resolved(model))


def test_a_promise_is_split_between_the_machine_and_its_gpus(
    make_server: MakeServer, model: DiscoveredModel, gpus: Callable[..., None]
) -> None:
    gpus(StandInGpu())
    resolved(model, n_gpu_layers=8)
    make_server(model, state=ServerState.STARTING, memory_mib=1000)

    (running,) = running_on("local")

    assert (running.counted_mib, running.counted_vram_mib) == (750, 250)


def test_many_servers_take_no_more_queries_than_one(
    make_model: MakeModel,
    make_server: MakeServer,
    gpus: Callable[..., None],
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(6):
        model = make_model(f"model{number}", metadata=HEADER)
        make_server(model, state=ServerState.READY, port=9000 + number)

    with django_assert_max_num_queries(4):
        assert len(running_on("local")) == 6


# -- what to do


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Have a machine with 16,000 MiB, of which 1,000 are reserved."""
    settings.MAGI_MEMORY_RESERVE_MIB = 1000
    total = hardware.Memory(16_000 * 2**20, 16_000 * 2**20)
    monkeypatch.setattr(memory, "read_memory", lambda: total)
    monkeypatch.setattr(nvidia, "pynvml", StandInNvml())


def asked(ram_mib: int, **options: Any) -> object:
    return admit(
        Need("New", ram_mib),
        **{
            "node": "local",
            "budget_mib": None,
            "eviction": "never",
            "busy": lambda _server_id: False,
            **options,
        },
    )


@pytest.mark.usefixtures("machine")
def test_a_launch_is_held_against_the_machine_its_reserve_and_what_runs(
    make_server: MakeServer, model: DiscoveredModel
) -> None:
    assert memory.machine() == Machine(16_000, 16_000, reserve_mib=1000)
    assert asked(15_000) == Fits()
    assert isinstance(asked(15_001), Refused)

    make_server(model, state=ServerState.STARTING, memory_mib=5000)

    assert asked(10_000) == Fits()
    assert isinstance(asked(10_001), Refused)
    assert isinstance(asked(1_001, budget_mib=6000), Refused)


@pytest.mark.usefixtures("machine")
def test_a_server_that_is_launched_again_does_not_stand_in_its_own_way(
    make_server: MakeServer, model: DiscoveredModel
) -> None:
    server = make_server(model, state=ServerState.STARTING, memory_mib=15_000)

    assert asked(15_000, server_id=server.pk) == Fits()


@pytest.mark.usefixtures("machine")
def test_whoever_knows_the_requests_in_flight_is_asked_who_is_busy(
    make_server: MakeServer, model: DiscoveredModel
) -> None:
    server = make_server(
        model,
        state=ServerState.READY,
        memory_mib=15_000,
        ready_at=timezone.now() - timedelta(minutes=1),
    )

    assert asked(9000, eviction="idle-longest") == Evict((server.pk,))
    busy = asked(9000, eviction="idle-longest", busy={server.pk}.__contains__)
    assert isinstance(busy, Wait)
