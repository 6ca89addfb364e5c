"""What was changed of profiles and presets, by whom and from where: in the audit."""

from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from models_app.audit_models import AuditEntry
from profiles_app import modelpresets, presets, services
from profiles_app.errors import ProfileInvalidError
from profiles_app.models import Profile, ProfileVersion
from profiles_app.preset_models import ModelPreset
from tests.conftest import MakeProfile

pytestmark = pytest.mark.django_db

PROFILES = "/api/models/profiles"
DOCUMENT = {"name": "Mine", "enabled_models": ["qwen"], "run_settings": {"ctx_size": 4096}}
PRESETS = """
[performance_profiles.calm]
temperature = 0.2

[model_presets.gemma]
weights = "/models/gemma.sbs"
"""


@pytest.fixture(autouse=True)
def _at_the_terminal(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    settings.MAGI_PROFILES_DIR = tmp_path


def told() -> list[tuple[str, str, str, str]]:
    """Return who did what to which by which door, the oldest first."""
    entries = AuditEntry.objects.exclude(action__in=["login", "password"]).order_by("pk")
    return [(entry.who, entry.via, entry.action, entry.target_id) for entry in entries]


def last() -> tuple[Any, Any]:
    entry = AuditEntry.objects.latest("pk")
    return entry.before, entry.after


def make(slug: str = "mine") -> Profile:
    """Make a profile, and forget that anybody did."""
    profile = services.save_document(DOCUMENT, slug=slug, author="x")
    AuditEntry.objects.all().delete()
    return profile


# -- profiles by the API


def test_a_profile_that_the_api_makes_is_told_whole(client: Client) -> None:
    client.post(PROFILES, DOCUMENT, content_type="application/json")

    assert told() == [("API", "api", "create", "mine")]
    before, after = last()
    assert before is None
    assert after["enabled_models"] == ["qwen"]
    assert after["version"] == 1


def test_of_a_change_only_what_differs_is_told(client: Client) -> None:
    make()

    change = {"two_stage": {"enabled": True}, "run_settings": {"ctx_size": 8192}}
    client.patch(f"{PROFILES}/mine", change, content_type="application/json")

    assert told() == [("API", "api", "update", "mine")]
    assert last() == (
        {"two_stage": {"enabled": False}, "run_settings": {"ctx_size": 4096}, "version": 1},
        {"two_stage": {"enabled": True}, "run_settings": {"ctx_size": 8192}, "version": 2},
    )


def test_what_a_profile_changes_for_those_who_extend_it_is_told() -> None:
    make()
    services.save_yaml("profile: {name: Child}\nextends: mine\n", author="x")
    AuditEntry.objects.all().delete()

    services.save_document({**DOCUMENT, "description": "New"}, slug="mine", author="ada")
    services.save_document({**DOCUMENT, "enabled_models": []}, slug="mine", author="ada")

    assert told() == [
        ("ada", "command", "update", "mine"),
        ("ada", "command", "update", "mine"),
        ("ada", "command", "update", "child"),
    ]


def test_saving_a_profile_as_it_is_leaves_no_entry(client: Client) -> None:
    make()

    client.put(f"{PROFILES}/mine", DOCUMENT, content_type="application/json")

    assert told() == []


def test_a_change_that_is_refused_leaves_no_entry() -> None:
    make()

    with pytest.raises(ProfileInvalidError):
        services.save_document({**DOCUMENT, "queue": {"limit": -1}}, slug="mine")

    assert told() == []


def test_a_deleted_profile_is_told_whole_and_so_is_its_return(client: Client) -> None:
    make()

    client.delete(f"{PROFILES}/mine")
    before, after = last()
    services.roll_back("mine", 1, author="ada")

    assert (before["run_settings"], after) == ({"ctx_size": 4096}, None)
    assert told() == [
        ("API", "api", "delete", "mine"),
        ("ada", "command", "rollback", "mine"),
    ]


# -- profiles in the admin, by commands and by files


def test_a_rollback_in_the_admin_tells_what_comes_back(admin_client: Client) -> None:
    profile = make()
    services.save_document({**DOCUMENT, "description": "Worse"}, slug="mine", author="x")
    AuditEntry.objects.all().delete()
    first = ProfileVersion.objects.get(slug=profile.slug, number=1)

    admin_client.post(reverse("admin:profiles_app_profileversion_rollback", args=[first.pk]))

    assert told() == [("admin", "admin", "rollback", "mine")]
    assert last() == (
        {"description": "Worse", "version": 2},
        {"description": "", "version": 3},
    )


def test_a_command_tells_who_was_at_the_terminal() -> None:
    call_command("profiles", "new", "Night Shift")
    call_command("profiles", "export", "night-shift")
    call_command("profiles", "delete", "night-shift")

    assert told() == [
        ("root", "command", what, "night-shift") for what in ("create", "export", "delete")
    ]


def test_a_file_that_was_edited_is_an_import(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("profile: {name: Mine}\n")
    call_command("profiles", "sync")
    (tmp_path / "mine.yaml").write_text("profile: {name: Mine, description: Edited}\n")
    call_command("profiles", "sync")
    call_command("profiles", "sync")

    assert told() == [("root", "command", "import", "mine")] * 2
    assert last() == (
        {"description": "", "version": 1},
        {"description": "Edited", "version": 2},
    )


def test_no_password_that_stands_in_a_profile_is_kept() -> None:
    text = "Models are at https://ada:hunter2@example.org/"
    services.save_document({**DOCUMENT, "description": text}, author="ada")

    assert last()[1]["description"] == "Models are at https://(secret)@example.org/"


def test_a_profile_that_is_activated_again_leaves_no_entry(make_profile: MakeProfile) -> None:
    profile = make_profile("mine")

    services.make_active(profile, author="ada")
    services.make_active(profile, author="ada")

    assert told() == [("ada", "command", "activate", "mine")]
    assert last() == ({"active": None}, {"active": "mine"})


# -- presets


def test_presets_by_a_command_are_told() -> None:
    call_command("presets", "new", "calm", "--temperature", "0.2")
    call_command("presets", "set", "calm", "--temperature", "0.3")
    changed = last()
    call_command("presets", "set", "calm", "--temperature", "0.3")
    call_command("presets", "delete", "calm")

    assert told() == [
        ("root", "command", what, "calm") for what in ("create", "update", "delete")
    ]
    assert changed == ({"temperature": 0.2}, {"temperature": 0.3})


def test_a_file_of_presets_tells_of_each_that_it_brings_or_changes(tmp_path: Path) -> None:
    file = tmp_path / "presets.toml"
    file.write_text(PRESETS)
    presets.import_presets(file)
    file.write_text(PRESETS.replace("0.2", "0.4"))
    presets.import_presets(file)

    assert told() == [("root", "command", "import", name) for name in ("calm", "gemma", "calm")]
    assert last() == ({"temperature": 0.2}, {"temperature": 0.4})


def test_the_default_model_tells_which_it_was() -> None:
    for name in ("a", "b"):
        ModelPreset.objects.create(name=name, weights="/m", is_default=name == "a")

    modelpresets.set_default_model("b")
    modelpresets.set_default_model("b")
    modelpresets.delete_model("b")

    assert [what for _, _, what, _ in told()] == ["update", "delete"]
    update = AuditEntry.objects.get(action="update")
    assert (update.before, update.after) == ({"default": "a"}, {"default": "b"})


def test_the_presets_that_ship_are_told_once() -> None:
    names = presets.ensure_shipped_presets()
    presets.ensure_shipped_presets()

    assert sorted(target for *_, target in told()) == sorted(names)
