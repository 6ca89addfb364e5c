"""What the engine does not know is refused when it is saved, whichever way it comes."""

from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from profiles_app.errors import ProfileInvalidError, ProfileNotActivatedError
from profiles_app.files import sync
from profiles_app.models import BaseRunSettings, ModelRunSettings, Profile
from profiles_app.services import get_profile, make_active, save_document, save_yaml
from profiles_app.validation import validate
from servers_app import services
from servers_app.engine.binary import Engine
from tests.conftest import MakeModel
from tests.profiles_app.test_profile_admin import form_of, page_of
from tests.servers_app.engine.conftest import MakeProgram

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("old_engine")]

FLAG = '{"extra_args": ["--spec-type", "ngram-mod"]}'
UNIFIED = "name: A\nengine: old\nrun_settings:\n  parallel: 2\n  kv_unified: true\n"
REFUSED = (
    "run_settings.kv_unified: this llama-server (build 6000) has no --kv-unified. "
    "Take it off, or choose another engine."
)


def test_a_yaml_text_is_refused_with_the_line() -> None:
    with pytest.raises(ProfileInvalidError) as caught:
        save_yaml(UNIFIED)

    assert str(caught.value) == f"line 5: {REFUSED}"
    assert not Profile.objects.exists()


def test_the_same_settings_are_saved_for_an_engine_that_knows_them() -> None:
    profile = save_yaml(UNIFIED.replace("old", "embedded"))

    assert profile.engine == "embedded"
    assert profile.run_settings["kv_unified"] is True


def test_all_of_it_is_said_at_once() -> None:
    text = (
        "name: A\nengine: old\nenabled_models:\n- m\n- model_id: n\n"
        "  run_settings: {extra_args: [--temp, 1, --temperature, 1]}\n"
        "run_settings: {load_mode: dio, kv_unified: true}\n"
    ).replace(" 1", " '1'")

    with pytest.raises(ProfileInvalidError) as caught:
        save_yaml(text)

    assert [(problem.line, problem.path) for problem in caught.value.problems] == [
        (7, "run_settings.load_mode"),
        (7, "run_settings.kv_unified"),
        (6, "enabled_models[1].run_settings.extra_args[2]"),
    ]


def test_the_default_engine_counts_where_a_profile_names_none(
    settings: Settings, old_engine: Engine
) -> None:
    text = UNIFIED.replace("engine: old\n", "")
    save_yaml(text)
    settings.LLAMA_SERVER_PATH = old_engine.command[0]

    with pytest.raises(ProfileInvalidError, match="has no --kv-unified"):
        save_yaml(text.replace("parallel: 2", "parallel: 3"))


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("odl", "engine: There is no engine 'odl' on this machine. Available: embedded, old;"),
        ("/bin/sh", "engine: Give a name of LLAMA_SERVER_BUILDS"),
        ("[old]", "engine: Give a name of LLAMA_SERVER_BUILDS"),
    ],
)
def test_an_engine_that_is_none_is_refused(engine: str, words: str) -> None:
    with pytest.raises(ProfileInvalidError) as caught:
        save_yaml(f"name: A\nengine: {engine}\n")

    assert f"line 2: {words}" in str(caught.value)


@pytest.mark.parametrize("method", ["post", "put"])
def test_the_api_refuses_it(client: Client, method: str) -> None:
    save_yaml("name: B\n")
    body = {"name": "B", "engine": "old", "run_settings": {"kv_unified": True}}
    url = "/api/models/profiles" + ("/b" if method == "put" else "")
    if method == "post":
        body["name"] = "A"

    response = getattr(client, method)(url, body, content_type="application/json")

    assert response.status_code == 400
    assert response.json()["detail"] == REFUSED
    assert get_profile("b").engine == ""
    assert Profile.objects.count() == 1


def test_the_api_tells_the_engine_and_takes_null_for_the_default(client: Client) -> None:
    save_yaml("name: A\nengine: old\n")
    url = "/api/models/profiles/a"

    assert client.get(url).json()["engine"] == "old"
    client.patch(url, {"engine": None}, content_type="application/json")

    assert client.get(url).json()["engine"] == ""


def test_a_file_with_it_is_skipped_and_told_of(tmp_path: Path) -> None:
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "a.yaml").write_text(UNIFIED)

    synced = sync(folder)

    assert [str(error) for error in synced.errors] == [f"a.yaml: line 5: {REFUSED}"]
    assert not Profile.objects.exists()


def test_the_command_refuses_it(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(UNIFIED)

    with pytest.raises(CommandError, match="has no --kv-unified"):
        call_command("profiles", "import", str(path))


# -- the admin


def test_the_admin_offers_the_engines_there_are(admin_client: Client) -> None:
    profile = save_yaml("name: A\n")
    url = page_of(profile)

    page = admin_client.get(url)
    response = admin_client.post(url, form_of(page) | {"engine": "old"})

    assert response.status_code == 302
    choices = page.context["adminform"].form.fields["engine"].widget.choices
    assert [name for name, _ in choices] == ["", "embedded", "old"]
    assert get_profile("a").engine == "old"
    assert "engine: old" in get_profile("a").yaml


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("engine", "odl", "There is no engine &#x27;odl&#x27;"),
        ("run_settings", '{"kv_unified": true}', "kv_unified: this llama-server (build 6000)"),
        ("members-0-run_settings", FLAG, "extra_args[0]: this llama-server (build 6000)"),
    ],
)
def test_the_admin_says_it_in_the_form(
    admin_client: Client, field: str, value: str, words: str
) -> None:
    profile = save_yaml("name: A\nenabled_models: [m]\n")
    url = page_of(profile)
    form = form_of(admin_client.get(url)) | {"engine": "old", field: value}

    response = admin_client.post(url, form)

    assert response.status_code == 200
    assert words in response.content.decode()
    assert get_profile("a").version == 1


@pytest.mark.parametrize("page", ["baserunsettings", "modelrunsettings"])
@pytest.mark.parametrize(("active", "is_refused"), [("old", True), ("embedded", False)])
def test_the_active_profiles_engine_counts_for_what_is_below_all_profiles(
    admin_client: Client, page: str, active: str, is_refused: bool
) -> None:
    make_active(save_yaml(f"name: A\nengine: {active}\n"))
    base = BaseRunSettings.objects.create(pk=1)
    model = ModelRunSettings.objects.create(model_id="m")
    row = base if page == "baserunsettings" else model
    url = reverse(f"admin:profiles_app_{page}_change", args=[row.pk])

    response = admin_client.post(url, {"model_id": "m", "run_settings": '{"kv_unified": true}'})

    row.refresh_from_db()
    assert ("has no --kv-unified" in response.content.decode()) is is_refused
    assert row.run_settings == ({} if is_refused else {"kv_unified": True})


# -- inheritance


def test_a_child_has_its_parents_engine_unless_it_says_else() -> None:
    parent = save_yaml("name: Parent\nengine: old\n")
    child = save_yaml("name: Child\nextends: parent\n")
    other = save_yaml("name: Other\nextends: parent\nengine: ''\n")

    assert (child.engine, other.engine) == ("old", "")

    save_document({"name": "Parent", "engine": "embedded"})

    child.refresh_from_db()
    other.refresh_from_db()
    assert (parent.slug, child.engine, other.engine) == ("parent", "embedded", "")


def test_the_default_engine_survives_the_rows_of_a_child(admin_client: Client) -> None:
    save_yaml("name: Parent\nengine: old\n")
    child = save_yaml("name: Child\nextends: parent\n")
    url = page_of(child)

    admin_client.post(url, form_of(admin_client.get(url)) | {"engine": ""})

    assert get_profile("child").engine == ""
    assert save_yaml(get_profile("child").yaml).engine == ""


def test_an_engine_that_a_child_cannot_run_on_is_refused_to_its_parent() -> None:
    save_yaml("name: Parent\n")
    save_yaml("name: Child\nextends: parent\nrun_settings: {kv_unified: true}\n")

    with pytest.raises(ProfileInvalidError, match=r"child: line 3: run_settings\.kv_unified"):
        save_yaml("name: Parent\nengine: old\n")

    assert get_profile("parent").engine == ""


# -- engines that cannot be asked, or are not what they were


@pytest.mark.parametrize("script", ["exit 1", "gone"])
def test_nothing_is_refused_where_the_engine_cannot_be_asked(
    settings: Settings, make_program: MakeProgram, script: str
) -> None:
    path = make_program(script, "broken")
    settings.LLAMA_SERVER_BUILDS = {"old": path}
    if script == "gone":
        path.unlink()

    assert save_yaml(UNIFIED).engine == "old"


@pytest.fixture
def overtaken(settings: Settings, old_engine: Engine) -> Profile:
    """A profile whose engine has been put back to build 6000 behind its back."""
    builds = settings.LLAMA_SERVER_BUILDS
    settings.LLAMA_SERVER_BUILDS = {"old": Path("/not/here/yet")}
    profile = save_yaml(UNIFIED.replace("A\n", "A\nenabled_models: [m]\n"))
    settings.LLAMA_SERVER_BUILDS = builds
    return profile


def test_a_profile_that_its_engine_has_overtaken_can_be_mended(
    overtaken: Profile, admin_client: Client
) -> None:
    url = page_of(overtaken)
    form = form_of(admin_client.get(url))

    refused = admin_client.post(url, form | {"description": "x"})
    mended = admin_client.post(url, form | {"run_settings": '{"parallel": 2}'})

    assert (refused.status_code, mended.status_code) == (200, 302)
    assert get_profile("a").run_settings == {"parallel": 2}


def test_an_engine_that_is_not_configured_any_more_can_be_changed(
    admin_client: Client, settings: Settings
) -> None:
    profile = save_yaml("name: A\nengine: old\n")
    settings.LLAMA_SERVER_BUILDS = {}
    url = page_of(profile)
    form = form_of(admin_client.get(url))

    assert form["engine"] == "old"
    assert admin_client.post(url, form).status_code == 200
    assert admin_client.post(url, form | {"engine": ""}).status_code == 302
    assert get_profile("a").engine == ""


def test_an_activation_is_refused_what_its_engine_does_not_know(
    overtaken: Profile, make_model: MakeModel
) -> None:
    make_model("m")

    with pytest.raises(ProfileNotActivatedError, match="has no --kv-unified"):
        services.activate_profile(overtaken)


def findings(profile: Profile) -> list[tuple[Any, ...]]:
    return [(each.line, each.path, each.is_error) for each in validate(profile).findings]


def test_validation_names_the_layer_that_says_what_the_engine_lacks(
    make_model: MakeModel,
) -> None:
    for model_id in ("m", "n"):
        make_model(model_id)
    profile = save_yaml(
        "name: A\nengine: old\nenabled_models: [m, n]\n"
        "tier_config: [{name: fast, max_score: .inf}]\n"
    )
    assert findings(profile) == []
    BaseRunSettings.objects.create(pk=1, run_settings={"kv_unified": True})
    ModelRunSettings.objects.create(model_id="n", run_settings={"load_mode": "dio"})

    texts = [str(finding) for finding in validate(profile).errors]

    assert texts == [
        "line 2: engine: kv_unified of the base's run settings: this llama-server (build 6000) "
        "has no --kv-unified. Take it off, or choose another engine.",
        "line 3: enabled_models[1]: load_mode of the model's run settings: this llama-server "
        "(build 6000) has no --load-mode, and no older flag for dio. "
        "Take it off, or choose another engine.",
    ]


def test_what_a_layer_above_takes_off_is_no_finding(make_model: MakeModel) -> None:
    make_model("m")
    BaseRunSettings.objects.create(pk=1, run_settings={"kv_unified": True})
    profile = save_yaml(
        "name: A\nengine: old\nenabled_models: [m]\nrun_settings: {kv_unified: false}\n"
        "tier_config: [{name: fast, max_score: .inf}]\n"
    )

    assert findings(profile) == []


def test_validation_places_what_the_profile_itself_says(
    overtaken: Profile, make_model: MakeModel
) -> None:
    make_model("m")

    errors = validate(overtaken).errors

    assert [str(error) for error in errors] == [f"line 6: {REFUSED}"]


def test_an_engine_that_has_gone_is_a_finding(settings: Settings) -> None:
    profile = save_yaml("name: A\nengine: old\n")
    settings.LLAMA_SERVER_BUILDS = {}

    assert (2, "engine", True) in findings(profile)
