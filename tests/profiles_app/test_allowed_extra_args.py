"""Extra arguments on their ways into a profile: none of them smuggles one past the judge."""

import pytest
from pytest_django import Settings

from profiles_app.errors import ProfileInvalidError
from profiles_app.models import BaseRunSettings
from profiles_app.resolution import settings_of
from profiles_app.services import save_yaml
from servers_app.engine.asking import scrubbed_environment
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db

PROFILE = "name: P\nenabled_models: []\nrun_settings:\n  extra_args: [{}]\n"


@pytest.fixture(autouse=True)
def _engine_that_nobody_can_ask(settings: Settings) -> None:
    settings.LLAMA_SERVER_PATH = "/no/llama-server"  # the embedded one knows few flags


def test_an_allowed_flag_is_saved_and_launched(
    settings: Settings, make_model: MakeModel
) -> None:
    settings.MAGI_ALLOWED_EXTRA_ARGS = frozenset({"--slot-save-path"})

    profile = save_yaml(PROFILE.format("--slot-save-path, /cache"))

    launched = settings_of(make_model(), profile)["extra_args"]
    assert launched.value == ["--slot-save-path", "/cache"]


def test_what_is_no_longer_allowed_is_not_launched(
    settings: Settings, make_model: MakeModel
) -> None:
    settings.MAGI_ALLOWED_EXTRA_ARGS = frozenset({"--slot-save-path"})
    profile = save_yaml(PROFILE.format("--slot-save-path, /cache"))

    settings.MAGI_ALLOWED_EXTRA_ARGS = frozenset()

    launched = settings_of(make_model(), profile)["extra_args"]
    assert launched.value == []
    assert "--slot-save-path is not passed on" in launched.note


def test_what_came_into_the_database_by_itself_is_not_launched(make_model: MakeModel) -> None:
    BaseRunSettings.objects.create(pk=1, run_settings={"extra_args": ["--rpc", "evil:1"]})

    assert settings_of(make_model(), None)["extra_args"].value == []


@pytest.mark.parametrize("value", ["--port", "--rpc=evil:1", "--tools all", "--api_key"])
def test_a_variable_is_judged_by_what_it_stands_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    settings.MAGI_PROFILE_VARIABLES = ("FLAGS",)
    monkeypatch.setenv("FLAGS", value)

    with pytest.raises(ProfileInvalidError, match="is not passed on"):
        save_yaml(PROFILE.format('"--temp", "1", "${FLAGS}"'))


def test_a_variable_that_changes_is_judged_at_the_launch(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, make_model: MakeModel
) -> None:
    settings.MAGI_PROFILE_VARIABLES = ("FLAGS",)
    monkeypatch.setenv("FLAGS", "--escape")
    profile = save_yaml(PROFILE.format('"${FLAGS}"'))

    monkeypatch.setenv("FLAGS", "--rpc")
    profile.run_settings["extra_args"] = ["--rpc"]  # as a careless refresh would have it
    profile.save(update_fields=["run_settings"])

    assert settings_of(make_model(), profile)["extra_args"].value == []


def test_the_environment_gives_llama_server_no_argument(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("LLAMA_ARG_HOST", "LLAMA_ARG_RPC", "LLAMA_API_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, "evil")

    assert "evil" not in scrubbed_environment().values()
