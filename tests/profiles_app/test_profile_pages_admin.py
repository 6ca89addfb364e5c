"""A profile's YAML in the admin: seen, edited, copied, sent as a file, and read from one."""

from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from profiles_app.models import Profile
from profiles_app.services import get_profile, save_yaml
from tests.conftest import MakeModel
from tests.profiles_app.test_profile_admin import viewer_client

pytestmark = pytest.mark.django_db

TEXT = "# mine\nname: A\nenabled_models: [x, y]  # two\nqueue: {limit: 7}\n"
WRONG = "name: B\nqueue:\n  limit: many\n"


@pytest.fixture(autouse=True)
def _folder(settings: Settings, tmp_path: Path) -> None:
    settings.MAGI_PROFILES_DIR = tmp_path


def page(name: str, *args: Any) -> str:
    return reverse(f"admin:profiles_app_profile_{name}", args=args)


def import_yaml(client: Client, **sent: Any) -> str:
    return client.post(page("import"), sent, follow=True).content.decode()


def test_a_profile_is_exported_as_it_was_written(admin_client: Client) -> None:
    response = admin_client.get(page("export", save_yaml(TEXT).pk))

    assert response.content.decode() == TEXT
    assert response["Content-Disposition"] == 'attachment; filename="a.yaml"'
    assert response["Content-Type"] == "application/yaml; charset=utf-8"


def test_its_yaml_is_edited_and_every_letter_is_kept(admin_client: Client) -> None:
    profile = save_yaml(TEXT)
    edited = TEXT.replace("7", "8").replace("\n", "\r\n")  # as a browser sends it

    admin_client.post(page("yaml", profile.pk), {"text": edited, "seen": 1})

    assert get_profile("a").yaml == TEXT.replace("7", "8")


def test_a_mistake_in_the_yaml_is_said_with_its_line_and_field(admin_client: Client) -> None:
    profile = save_yaml(TEXT)

    shown = admin_client.post(page("yaml", profile.pk), {"text": WRONG, "seen": 1})

    (problem,) = shown.context["problems"]
    assert (problem.line, problem.path) == (3, "queue.limit")
    assert "limit: many" in shown.content.decode()  # what was typed is still there
    assert get_profile("a").yaml == TEXT


def test_yaml_of_a_profile_that_was_changed_meanwhile_is_not_saved(
    admin_client: Client,
) -> None:
    profile = save_yaml(TEXT)
    save_yaml(TEXT.replace("7", "9"), author="bob")

    shown = admin_client.post(page("yaml", profile.pk), {"text": TEXT, "seen": 1})

    assert "bob saved version 2" in shown.content.decode()
    assert get_profile("a").queue_limit == 9


def test_a_copy_has_all_of_it_but_its_name(admin_client: Client) -> None:
    profile = save_yaml(TEXT)

    admin_client.post(page("copy", profile.pk), {"name": "B Side"})

    assert get_profile("b-side").yaml == TEXT.replace("name: A", "name: B Side")


def test_a_copy_takes_no_name_that_there_is(admin_client: Client) -> None:
    profile = save_yaml(TEXT)

    shown = admin_client.post(page("copy", profile.pk), {"name": "A"})

    assert "exists already" in str(shown.context["form"].errors["name"])


@pytest.mark.parametrize(
    "sent",
    [{"text": TEXT}, {"file": SimpleUploadedFile("any name.yaml", TEXT.encode())}],
    ids=["text", "file"],
)
def test_a_profile_is_imported(admin_client: Client, sent: dict[str, Any]) -> None:
    shown = import_yaml(admin_client, **sent)

    assert "Saved A, version 1." in shown
    assert get_profile("a").yaml == TEXT


def test_it_is_imported_under_another_name(admin_client: Client) -> None:
    save_yaml(TEXT)

    import_yaml(admin_client, text=TEXT, name="B Side")

    assert get_profile("b-side").yaml == TEXT.replace("name: A", "name: B Side")
    assert get_profile("a").version == 1


def test_an_import_replaces_a_profile_only_where_that_is_meant(admin_client: Client) -> None:
    save_yaml(TEXT)
    other = TEXT.replace("7", "8")

    assert "exists already" in import_yaml(admin_client, text=other)
    assert get_profile("a").queue_limit == 7
    import_yaml(admin_client, text=other, replace="on")
    assert get_profile("a").queue_limit == 8


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"text": WRONG}, "<b>line 3</b>, <code>queue.limit</code>"),
        ({"text": "name: [A"}, "<b>line"),
        ({"text": "  "}, "Choose a file, or paste its text"),
        ({"file": SimpleUploadedFile("a.yaml", b"name: \xff")}, "The file is not UTF-8"),
        ({"file": SimpleUploadedFile("a.yaml", b"#" * 300_000)}, "The file has 300,000 bytes"),
        ({"file": SimpleUploadedFile("a.yaml", WRONG.encode())}, "limit: many</textarea>"),
    ],
    ids=["value", "syntax", "nothing", "latin-1", "large", "a file's text to mend"],
)
def test_what_cannot_be_imported_says_why(
    admin_client: Client, sent: dict[str, Any], words: str
) -> None:
    shown = import_yaml(admin_client, **sent)

    assert words in shown.replace("\n</textarea>", "</textarea>")
    assert not Profile.objects.exists()


def test_who_may_only_see_profiles_gets_their_yaml_and_changes_nothing() -> None:
    client = viewer_client()
    profile = save_yaml(TEXT)

    shown = client.get(page("yaml", profile.pk)).content.decode()

    assert "# mine" in shown
    assert "<textarea" not in shown
    assert client.post(page("yaml", profile.pk), {"text": WRONG}).status_code == 403
    assert client.post(page("copy", profile.pk), {"name": "B"}).status_code == 403
    assert client.post(page("import"), {"text": TEXT}).status_code == 403
    assert client.get(page("export", profile.pk)).status_code == 200


def test_models_are_found_by_any_words_of_their_names(
    admin_client: Client,
    make_model: MakeModel,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(40):
        make_model(f"llama_{number}")
    make_model("qwen_coder_q8", display_name="Qwen Coder 7B", problem="It is cut off.")

    with django_assert_max_num_queries(6):
        many = admin_client.get(page("models"), {"q": "llama"}).json()["models"]
    (one,) = admin_client.get(page("models"), {"q": "7b coder"}).json()["models"]

    assert len(many) == 20
    assert one == {
        "id": "qwen_coder_q8",
        "name": "Qwen Coder 7B",
        "tier": "fast",
        "place": "It is cut off.",
        "is_well": False,
    }


def test_who_may_not_see_models_finds_none(client: Client) -> None:
    assert client.get(page("models")).status_code == 302
