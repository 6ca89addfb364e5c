"""Memory is counted before a launch; the figures of the machine are the test's."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from models_app.models import DiscoveredModel
from profiles_app.models import Profile
from servers_app import memory, services
from servers_app.admission import Machine
from servers_app.models import MemoryMeasurement, Server, ServerState, Wanted
from tests.conftest import MakeModel, MakeProfile
from tests.servers_app.supervisor.conftest import (
    PATIENCE_S,
    SetMode,
    has_state,
    in_background,
    settled,
    until,
)

pytestmark = pytest.mark.django_db(transaction=True)

MakeFirst = Callable[..., Server]


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Callable[[int], None]:
    """Return a function that says how much memory the machine has, in MiB."""
    settings.MAGI_MEMORY_RESERVE_MIB = 0

    def of(total_mib: int) -> None:
        machine = Machine(total_mib=total_mib, available_mib=total_mib)
        monkeypatch.setattr(memory, "machine", lambda: machine)

    of(1_000_000)
    return of


@pytest.fixture
def second_model(
    make_model: MakeModel, settings: Settings, free_port: Callable[[], int]
) -> DiscoveredModel:
    settings.MODEL_PORT_RANGE_START, settings.MODEL_PORT_RANGE_END = 20000, 60000
    return make_model("second", port=free_port())


@pytest.fixture
def evicting(make_profile: MakeProfile) -> Profile:
    return make_profile(
        "evicting", is_active=True, eviction="idle-longest", queue_wait_seconds=20
    )


def idle_for(server: Server, seconds: float) -> None:
    at = timezone.now() - timedelta(seconds=seconds)
    Server.objects.filter(pk=server.pk).update(last_used_at=at, ready_at=at)


def test_what_does_not_fit_is_refused_with_the_figures(
    wanted: Server, roomy: Callable[[int], None]
) -> None:
    roomy(500)

    server = settled(wanted)

    assert server.state == ServerState.FAILED
    assert "of 500 MiB" in server.last_error
    assert "ctx_size" in server.last_error
    assert server.next_start_at is None


def test_what_was_counted_is_on_the_row_and_given_back_at_the_stop(
    wanted: Server, roomy: Callable[[int], None]
) -> None:
    assert settled(wanted).memory_mib

    services.request_stop(wanted)

    assert settled(wanted).memory_mib is None


def test_the_budget_of_the_profile_is_kept(
    wanted: Server, roomy: Callable[[int], None], make_profile: MakeProfile
) -> None:
    make_profile("tight", is_active=True, memory_budget_mib=10)

    assert "the budget of the profile is 10 MiB" in settled(wanted).last_error


def test_what_was_measured_counts_at_the_next_launch(
    wanted: Server, roomy: Callable[[int], None]
) -> None:
    estimated = settled(wanted).memory_mib
    measured = MemoryMeasurement.objects.get(model=wanted.model)
    assert measured.ram_mib == wanted.peak_mib
    services.request_stop(wanted)
    settled(wanted)

    services.request_start(wanted.model)

    assert settled(wanted).memory_mib == measured.ram_mib != estimated


def test_two_launches_at_once_are_not_both_promised_the_same_memory(
    wanted: Server, roomy: Callable[[int], None], second_model: DiscoveredModel
) -> None:
    second = services.request_start(second_model)
    roomy(2000)  # for one of them

    threads = [in_background(wanted), in_background(second)]
    for thread in threads:
        thread.join(PATIENCE_S)

    states = sorted(Server.objects.values_list("state", flat=True))
    assert states == ["failed", "ready"]


def test_what_has_been_idle_longest_gives_way_and_comes_back_with_a_request(
    wanted: Server,
    roomy: Callable[[int], None],
    second_model: DiscoveredModel,
    evicting: Profile,
) -> None:
    settled(wanted)
    idle_for(wanted, 60)
    Server.objects.update(memory_mib=2000)
    roomy(3000)

    second = settled(services.request_start(second_model))

    assert second.state == ServerState.READY
    wanted.refresh_from_db()
    assert (wanted.state, wanted.wanted) == (ServerState.STOPPED, Wanted.STOPPED)
    assert wanted.on_request
    assert wanted.asked_why == "to make room for second"


def test_a_busy_server_never_gives_way(
    wanted: Server,
    roomy: Callable[[int], None],
    second_model: DiscoveredModel,
    evicting: Profile,
    stand_in: SetMode,
    finish: Callable[[], None],
) -> None:
    stand_in("busy")
    settled(wanted)
    idle_for(wanted, 60)
    Server.objects.update(memory_mib=2000)
    roomy(3000)
    second = services.request_start(second_model)
    thread = in_background(second)
    until(lambda: bool(Server.objects.filter(pk=second.pk, note__contains="give way")))
    assert has_state(wanted, ServerState.READY)()

    finish()
    thread.join(PATIENCE_S)

    assert has_state(wanted, ServerState.STOPPED)()
    assert has_state(second, ServerState.READY)()


def test_nobody_gives_way_where_the_profile_does_not_say_so(
    wanted: Server,
    roomy: Callable[[int], None],
    second_model: DiscoveredModel,
    make_profile: MakeProfile,
) -> None:
    make_profile("p", is_active=True)
    settled(wanted)
    idle_for(wanted, 60)
    Server.objects.update(memory_mib=2000)
    roomy(3000)

    second = settled(services.request_start(second_model))

    assert second.state == ServerState.FAILED
    assert has_state(wanted, ServerState.READY)()


def test_a_wait_for_memory_ends_when_it_is_not_wanted_any_more(
    wanted: Server,
    roomy: Callable[[int], None],
    second_model: DiscoveredModel,
    evicting: Profile,
    stand_in: SetMode,
) -> None:
    stand_in("busy")
    settled(wanted)
    Server.objects.update(memory_mib=2000)
    roomy(3000)
    second = services.request_start(second_model)
    thread = in_background(second)
    until(lambda: bool(Server.objects.filter(pk=second.pk).exclude(note="")))

    services.request_stop(second)
    thread.join(PATIENCE_S)

    assert has_state(second, ServerState.STOPPED)()
