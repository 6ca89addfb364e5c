"""What an activation would do, and that it does just that."""

import pytest

from models_app.models import DiscoveredModel
from profiles_app.errors import ProfileNotActivatedError
from profiles_app.models import Profile
from profiles_app.resolution import settings_of
from profiles_app.services import make_active, save_yaml
from servers_app import services
from servers_app.engine.argv import server_argv
from servers_app.engine.binary import find_engine
from servers_app.models import Server, ServerState, Wanted
from servers_app.planning import explained, make_plan
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db

OLD = "name: Old\nenabled_models: [kept, dropped]\n"
NEW = "name: New\nenabled_models: [kept, added]\n"


@pytest.fixture(autouse=True)
def _models(make_model: MakeModel) -> None:
    for model_id in ("kept", "dropped", "added"):
        make_model(model_id)


def running(model_id: str, profile: Profile, *, port: int, replica: int = 0) -> Server:
    """Save a server that runs with what `profile` gives its model."""
    model = DiscoveredModel.objects.get(model_id=model_id)
    argv = server_argv(find_engine(), model, port, settings_of(model, profile))
    return Server.objects.create(
        model=model, node="local", replica=replica, port=port, argv=argv,
        wanted=Wanted.RUNNING, state=ServerState.READY,
    )  # fmt: skip


@pytest.fixture
def old() -> Profile:
    """The active profile, both of whose models run."""
    profile = save_yaml(OLD)
    make_active(profile)
    running("kept", profile, port=8080)
    running("dropped", profile, port=8081)
    return profile


def steps(profile: Profile) -> dict[str, str]:
    return {wish.model.model_id: wish.step.value for wish in make_plan(profile).wishes}


def test_what_both_enable_stays_and_the_rest_starts_and_stops(old: Profile) -> None:
    new = save_yaml(NEW)

    assert steps(new) == {"kept": "stay", "added": "start", "dropped": "stop"}


def test_a_plan_changes_nothing(old: Profile) -> None:
    before = list(Server.objects.values())

    make_plan(save_yaml(NEW))

    assert list(Server.objects.values()) == before
    assert Profile.objects.get(is_active=True) == old


def test_other_run_settings_restart_a_server(old: Profile) -> None:
    new = save_yaml(NEW + "run_settings: {ctx_size: 2048}\n")

    assert steps(new)["kept"] == "restart"

    activation = services.activate_profile(new)
    assert [server.model.model_id for server in activation.restarted] == ["kept"]
    assert Server.objects.get(model__model_id="kept").restart_requested_at is not None


def test_what_stays_is_not_touched(old: Profile) -> None:
    services.activate_profile(save_yaml(NEW))

    kept = Server.objects.get(model__model_id="kept")
    assert kept.restart_requested_at is None
    assert (kept.state, kept.port) == (ServerState.READY, 8080)


def test_the_memory_before_and_after_is_told(old: Profile) -> None:
    same = make_plan(old)
    fewer = make_plan(save_yaml("name: Few\nenabled_models: [kept]\n"))

    assert same.memory_before_mib == same.memory_after_mib > 0
    assert fewer.memory_after_mib == pytest.approx(fewer.memory_before_mib / 2, abs=1)


def test_replicas_are_servers_of_their_own(old: Profile) -> None:
    new = save_yaml("name: New\nenabled_models: [{model_id: kept, replicas: 3}]\n")

    activation = services.activate_profile(new)

    assert [server.replica for server in activation.started] == [0, 1, 2]
    servers = Server.objects.filter(model__model_id="kept")
    assert len({server.port for server in servers}) == 3

    services.activate_profile(old)
    wanted = Server.objects.filter(model__model_id="kept", wanted=Wanted.RUNNING)
    assert [server.replica for server in wanted] == [0]


def test_a_profile_that_starts_on_request_starts_nothing_now(old: Profile) -> None:
    new = save_yaml(NEW + "lifecycle: {start: request}\n")

    assert steps(new) == {"kept": "stay", "added": "on request", "dropped": "stop"}

    services.activate_profile(new)
    added = Server.objects.get(model__model_id="added")
    assert (added.wanted, added.on_request) == (Wanted.STOPPED, True)


def test_only_what_the_new_profile_offers_is_started_by_a_request(old: Profile) -> None:
    services.activate_profile(save_yaml(NEW + "lifecycle: {start: request}\n"))

    services.activate_profile(old)

    assert not Server.objects.filter(on_request=True).exclude(model__model_id="kept").exists()


def test_errors_stop_an_activation_and_nothing_has_changed(old: Profile) -> None:
    new = save_yaml("name: New\nenabled_models: [kept, nowhere]\n")

    with pytest.raises(ProfileNotActivatedError, match="nowhere"):
        services.activate_profile(new)

    assert Profile.objects.get(is_active=True) == old
    assert Server.objects.filter(wanted=Wanted.RUNNING).count() == 2


def test_force_activates_what_can_run(old: Profile) -> None:
    new = save_yaml("name: New\nenabled_models: [kept, nowhere]\n")

    activation = services.activate_profile(new, force=True)

    assert activation.missing == ["nowhere"]
    assert Profile.objects.get(is_active=True) == new


def test_a_command_line_says_where_each_value_comes_from() -> None:
    profile = save_yaml("name: New\nenabled_models: [kept]\nrun_settings: {ctx_size: 2048}\n")

    arguments = {argument.flag: argument for argument in explained(profile)["kept"]}

    assert arguments["--ctx-size"].value == "2048"
    assert "new" in arguments["--ctx-size"].origin
    assert arguments["--batch-size"].origin == "MAGI"


def test_enabling_a_model_changes_the_active_profile_and_starts_it(old: Profile) -> None:
    added = DiscoveredModel.objects.get(model_id="added")

    profile = services.set_enabled([added], is_enabled=True, author="ann")

    assert [member.model_id for member in profile.members.all()] == ["kept", "dropped", "added"]
    assert Server.objects.get(model=added).wanted == Wanted.RUNNING


def test_disabling_a_model_stops_it(old: Profile) -> None:
    kept = DiscoveredModel.objects.get(model_id="kept")

    profile = services.set_enabled([kept], is_enabled=False)

    assert [member.model_id for member in profile.members.all()] == ["dropped"]
    assert Server.objects.get(model=kept).wanted == Wanted.STOPPED
