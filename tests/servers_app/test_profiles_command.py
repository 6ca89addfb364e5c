"""`manage.py profiles …`: what each says, writes, and refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from profiles_app.models import Profile, ProfileVersion
from profiles_app.services import get_profile, make_active, save_yaml
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db

TEXT = "# mine\nname: A\nenabled_models: [small]  # one\nqueue: {limit: 7}\n"


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path) -> Path:
    settings.MAGI_PROFILES_DIR = tmp_path / "profiles"
    return tmp_path / "profiles"


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs the command and returns what it printed."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        call_command("profiles", *arguments)
        return capsys.readouterr().out

    return run


def test_list_marks_the_active_one(said: Any) -> None:
    make_active(save_yaml(TEXT))
    save_yaml("name: B\n")

    out = said("list")

    assert "●" in out
    assert "coding-assistant" in out
    assert [profile["slug"] for profile in json.loads(said("list", "--json"))] == ["a", "b"]


def test_show_prints_it_as_it_was_written_and_as_it_comes_out(said: Any) -> None:
    save_yaml(TEXT)
    save_yaml("name: B\nextends: a\n")

    assert said("show", "a") == TEXT
    resolved = said("show", "b", "--resolved")
    assert "limit: 7" in resolved
    assert "extends" not in resolved
    assert json.loads(said("show", "b", "--json"))["queue"]["limit"] == 7


def test_show_argv_says_where_each_value_comes_from(said: Any, make_model: MakeModel) -> None:
    make_model("small", context_length=8192)
    save_yaml(TEXT)

    out = said("show", "a", "--argv")

    assert "--ctx-size" in out
    assert "8192" in out
    assert "MAGI" in out
    assert "--ctx-size" in {
        a["flag"] for a in json.loads(said("show", "a", "--argv", "--json"))["small"]
    }


def test_new_makes_a_profile_from_a_template(said: Any) -> None:
    said("new", "My Coder", "--from", "coding-assistant", "--model", "small")

    profile = get_profile("my-coder")
    assert [str(member) for member in profile.members.all()] == ["small"]
    assert profile.preset == "code"
    with pytest.raises(CommandError, match="exists already"):
        call_command("profiles", "new", "My Coder")
    with pytest.raises(CommandError, match="Available: batch, coding-assistant"):
        call_command("profiles", "new", "Other", "--from", "nothing")


def test_import_reads_a_file_and_says_what_is_missing(said: Any, tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(TEXT)

    out = said("import", str(path))

    assert "No model here has the id small" in out
    with pytest.raises(CommandError, match="exists already"):
        call_command("profiles", "import", str(path))
    path.write_text(TEXT.replace("7", "8"))
    said("import", str(path), "--force")
    assert get_profile("a").queue_limit == 8


def test_import_says_all_that_is_wrong_each_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("name: A\nqueue: {limit: -1}\nmemory: {eviction: all}\n")

    with pytest.raises(CommandError) as error:
        call_command("profiles", "import", str(path))

    first, second = str(error.value).splitlines()
    assert first.startswith("bad.yaml: line 2: queue.limit: ")
    assert second.startswith("bad.yaml: line 3: memory.eviction: ")
    assert not Profile.objects.exists()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"no\.yaml: No such file"):
        call_command("profiles", "import", str(tmp_path / "no.yaml"))


def test_export_writes_the_file_and_sync_reads_it_back(said: Any, folder: Path) -> None:
    save_yaml(TEXT)

    said("export", "a")
    assert (folder / "a.yaml").read_text() == TEXT
    assert said("export", "a", "--print") == TEXT
    assert "Unchanged: a" in said("sync")

    (folder / "a.yaml").write_text(TEXT.replace("7", "8"))
    assert "Updated: a" in said("sync")


def test_a_conflict_is_shown_and_ends_with_an_error(
    folder: Path, said: Any, capsys: Any
) -> None:
    save_yaml(TEXT)
    said("export", "a")
    save_yaml(TEXT.replace("7", "8"))
    (folder / "a.yaml").write_text(TEXT.replace("7", "9"))

    with pytest.raises(CommandError, match="conflict"):
        call_command("profiles", "sync")
    assert "queue.limit: 8 → 9" in capsys.readouterr().out
    with pytest.raises(CommandError, match="was edited"):
        call_command("profiles", "export", "a")

    said("sync", "--take", "file")
    assert get_profile("a").queue_limit == 9


def test_validate_ends_with_an_error_when_there_is_one(said: Any, capsys: Any) -> None:
    save_yaml(TEXT)

    with pytest.raises(CommandError, match="a has 1 error"):
        call_command("profiles", "validate", "a")

    assert "line 3: enabled_models[0]" in capsys.readouterr().out


def test_activate_with_a_plan_changes_nothing(said: Any, make_model: MakeModel) -> None:
    make_model("small")
    save_yaml(TEXT)

    out = said("activate", "a", "--plan")

    assert "small starts" in out
    assert "MiB afterwards" in out
    assert not Profile.objects.filter(is_active=True).exists()
    plan = json.loads(said("activate", "a", "--plan", "--json"))
    assert plan["servers"][0]["step"] == "start"


def test_activate_makes_it_the_active_one(said: Any, make_model: MakeModel) -> None:
    make_model("small")
    save_yaml(TEXT)

    assert "1 servers wanted" in said("activate", "a")
    assert get_profile("a").is_active


def test_activate_with_errors_wants_force(said: Any) -> None:
    save_yaml(TEXT)

    with pytest.raises(CommandError, match="was not activated"):
        call_command("profiles", "activate", "a")
    said("activate", "a", "--force")
    assert get_profile("a").is_active


def test_diff_says_each_value(said: Any) -> None:
    save_yaml(TEXT)
    save_yaml("name: B\nenabled_models: [small, big]\n")

    out = said("diff", "a", "b")

    assert "enabled_models: + big" in out
    assert "queue.limit: 7 → 64" in out


def test_versions_and_rollback(said: Any) -> None:
    save_yaml(TEXT, author="ann")
    save_yaml(TEXT.replace("7", "8"), author="bob")

    assert "bob" in said("versions", "a")
    said("rollback", "a")
    assert get_profile("a").queue_limit == 7
    said("rollback", "a", "2")
    assert get_profile("a").queue_limit == 8
    with pytest.raises(CommandError, match="no version 99"):
        call_command("profiles", "rollback", "a", "99")


def test_delete_says_how_to_bring_it_back(said: Any) -> None:
    save_yaml(TEXT)

    out = said("delete", "a")

    assert not Profile.objects.exists()
    assert "profiles rollback a 1" in out
    said("rollback", "a", "1")
    assert get_profile("a").yaml == TEXT
    assert ProfileVersion.objects.filter(slug="a").count() == 3


def test_a_name_that_is_not_there_is_told_with_those_that_are() -> None:
    save_yaml(TEXT)

    for command in (["show", "x"], ["versions", "x"], ["rollback", "x", "1"], ["delete", "x"]):
        with pytest.raises(CommandError, match=r"Profile 'x' not found. Available: a"):
            call_command("profiles", *command)
