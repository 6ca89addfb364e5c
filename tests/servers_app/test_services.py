import pytest
from django.db import IntegrityError, transaction
from kombu.exceptions import OperationalError
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from models_app.errors import QueueUnavailableError
from models_app.models import ScanRoot
from servers_app import services
from servers_app.errors import NoFreePortError, NotLaunchableError
from servers_app.models import Server, ServerState, Wanted
from tests.conftest import MakeModel, MakeProfile, MakeServer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queued")]


@pytest.fixture(autouse=True)
def _every_port_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers_app.ports.is_bindable", lambda _port: True)


def test_a_start_is_wanted_in_the_database_with_a_port_before_anything_is_done(
    make_model: MakeModel,
) -> None:
    server = services.request_start(make_model())

    server.refresh_from_db()
    assert server.wanted == Wanted.RUNNING
    assert server.state == ServerState.STOPPED
    assert server.port == 8080


def test_a_start_is_queued_after_the_commit(
    make_model: MakeModel,
    queued: list[int],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        server = services.request_start(make_model())
        assert queued == []

    assert queued == [server.pk]


def test_the_models_own_port_comes_first(make_model: MakeModel) -> None:
    assert services.request_start(make_model(port=8085)).port == 8085


def test_a_port_that_another_program_has_is_passed_over(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers_app.ports.is_bindable", lambda port: port != 8080)

    assert services.request_start(make_model(port=8080)).port == 8081


def test_servers_get_ports_of_their_own(make_model: MakeModel) -> None:
    ports = [services.request_start(make_model(name)).port for name in ("a", "b", "c")]

    assert ports == [8080, 8081, 8082]


def test_a_start_without_a_free_port_says_which_range_is_full(
    make_model: MakeModel, settings: Settings
) -> None:
    settings.MODEL_PORT_RANGE_END = 8080
    services.request_start(make_model("a"))

    with pytest.raises(NoFreePortError, match="from 8080 to 8080"):
        services.request_start(make_model("b"))


def test_asking_twice_makes_one_server(make_model: MakeModel) -> None:
    model = make_model()

    first, second = services.request_start(model), services.request_start(model)

    assert (first.pk, first.port) == (second.pk, second.port)
    assert Server.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"is_missing": True}, "missing"),
        ({"problem": "shard 2 of 3 is missing"}, "shard 2 of 3"),
    ],
)
def test_a_model_without_its_files_is_not_started(
    make_model: MakeModel, fields: dict[str, object], reason: str
) -> None:
    with pytest.raises(NotLaunchableError, match=reason):
        services.request_start(make_model(**fields))


def test_what_is_wanted_is_kept_when_the_queue_is_down(
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OperationalError

    monkeypatch.setattr("servers_app.tasks.settle.apply_async", refuse)

    with (
        pytest.raises(QueueUnavailableError, match="REDIS_URL"),
        django_capture_on_commit_callbacks(execute=True),
    ):
        services.request_start(make_model())

    assert Server.objects.get().wanted == Wanted.RUNNING


def test_a_server_belongs_to_the_node_that_has_the_files(make_model: MakeModel) -> None:
    root = ScanRoot.objects.create(node="attic", path="/models")

    assert services.request_start(make_model(root=root)).node == "attic"


def test_an_activation_asks_for_the_profiles_models_and_for_no_others(
    make_model: MakeModel, make_profile: MakeProfile, make_server: MakeServer
) -> None:
    kept = make_server(make_model("kept"), wanted=Wanted.RUNNING, state=ServerState.READY)
    dropped = make_server(make_model("dropped"), wanted=Wanted.RUNNING, port=8081)
    make_model("new")
    profile = make_profile("mine", "new", "kept", "elsewhere")

    activation = services.activate_profile(profile, force=True)

    assert [server.model.model_id for server in activation.started] == ["new", "kept"]
    assert activation.stopped == [dropped]
    assert activation.missing == ["elsewhere"]
    kept.refresh_from_db()
    assert (kept.state, kept.port) == (ServerState.READY, 8080)
    wanted = Server.objects.filter(wanted=Wanted.RUNNING)
    assert {server.model.model_id for server in wanted} == {"kept", "new"}


def test_an_activation_starts_the_others_when_one_cannot_be(
    make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model("broken", problem="truncated")
    make_model("fine")

    activation = services.activate_profile(make_profile("mine", "broken", "fine"), force=True)

    assert [server.model.model_id for server in activation.started] == ["fine"]
    assert [model_id for model_id, _ in activation.refused] == ["broken"]


def test_one_profile_is_active(make_profile: MakeProfile) -> None:
    first, second = make_profile("first"), make_profile("second")

    services.activate_profile(first)
    services.activate_profile(second)

    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.is_active, second.is_active) == (False, True)


def test_the_database_refuses_two_servers_on_one_port(
    make_model: MakeModel, make_server: MakeServer
) -> None:
    make_server(make_model("a"), port=8080)

    with pytest.raises(IntegrityError), transaction.atomic():
        make_server(make_model("b"), port=8080)
