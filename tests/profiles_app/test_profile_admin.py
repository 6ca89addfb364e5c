"""Profiles in the admin: rows are edited, the YAML follows, and nobody's change is lost."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from magi_site.groups import VIEWER, ensure_groups
from profiles_app.models import BaseRunSettings, ModelRunSettings, Profile, ProfileVersion
from profiles_app.rows import as_document
from profiles_app.services import get_profile, save_yaml
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db

TEXT = """\
# mine
name: A
enabled_models: [x, y]  # two
queue: {limit: 7}
"""


@pytest.fixture(autouse=True)
def _folder(settings: Settings, tmp_path: Path) -> None:
    settings.MAGI_PROFILES_DIR = tmp_path


@pytest.fixture
def viewer() -> Client:
    return viewer_client()


def viewer_client() -> Client:
    """Return a client of somebody who may see profiles and change none."""
    ensure_groups()
    user = User.objects.create_user("eve", is_staff=True)
    user.groups.add(Group.objects.get(name=VIEWER))
    client = Client()
    client.force_login(user)
    return client


def form_of(page: Any) -> dict[str, Any]:
    """Return what a browser would send back of a form that was not touched."""
    form = page.context["adminform"].form
    sent = {name: form[name].value() for name in form.fields}
    for inline in page.context["inline_admin_formsets"]:
        formset = inline.formset
        for each in [formset.management_form, *formset.forms]:
            for name, field in each.fields.items():
                sent[each.add_prefix(name)] = value = each[name].value()
                if field.show_hidden_initial:
                    sent[each.add_initial_prefix(name)] = value
    return {name: _sent(value) for name, value in sent.items() if value is not None}


def _sent(value: Any) -> Any:
    return ("on" if value else "") if isinstance(value, bool) else value


def page_of(profile: Profile) -> str:
    return reverse("admin:profiles_app_profile_change", args=[profile.pk])


def test_an_edit_reaches_the_yaml_and_keeps_what_it_does_not_touch(
    admin_client: Client,
) -> None:
    profile = save_yaml(TEXT)
    url = page_of(profile)
    form = form_of(admin_client.get(url))

    response = admin_client.post(url, form | {"queue_limit": "9", "two_stage_enabled": "on"})

    assert response.status_code == 302
    profile = get_profile("a")
    assert (profile.queue_limit, profile.two_stage_enabled) == (9, True)
    assert profile.yaml.startswith("# mine\nname: A\nenabled_models: [x, y]  # two\n")
    assert "limit: 9" in profile.yaml
    newest = ProfileVersion.objects.filter(slug="a").first()
    assert newest is not None
    assert newest.author == "admin"
    assert "queue.limit: 7 → 9" in newest.summary


def test_a_profile_is_made_in_the_admin(admin_client: Client) -> None:
    url = reverse("admin:profiles_app_profile_add")
    form = form_of(admin_client.get(url))

    response = admin_client.post(
        url,
        form | {"name": "New One", "members-0-model_id": "x"},
    )

    assert response.status_code == 302
    profile = get_profile("new-one")
    assert as_document(profile)["enabled_models"] == ["x"]
    assert [tier.name for tier in profile.tiers.all()] == ["fast", "balanced", "powerful"]
    assert "New One" in profile.yaml
    assert profile.version == 1


def test_the_second_of_two_who_edit_a_profile_is_told(admin_client: Client) -> None:
    profile = save_yaml(TEXT)
    url = page_of(profile)
    first = second = form_of(admin_client.get(url))
    other = Client()
    other.force_login(User.objects.create_superuser("bob", password="x"))
    other.post(url, first | {"description": "bob's"})

    response = admin_client.post(url, second | {"description": "mine"})

    assert response.status_code == 200
    text = response.content.decode()
    assert "bob saved this profile while you were editing it" in text
    assert "mine" in text  # what was typed is still there
    assert get_profile("a").description == "bob's"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("run_settings", '{"ctx_siz": 1}', "ctx_size"),
        ("run_settings", "ctx_size", "must be a mapping"),
        ("run_settings", "parallel: 2\nctx_size: [1", "line 2"),
        ("members-0-run_settings", '{"parallel": 0}', "parallel"),
        ("members-0-replicas", "17", "16"),
        ("members-0-aliases", "auto", "a name of MAGI&#x27;s own"),
        ("members-0-aliases", "y", "y is the id of a model that the profile enables"),
        ("members-0-aliases", "a, a", "a is an alias of x already"),
        ("members-0-aliases", "a, ../b", "Item 2: An alias is of letters"),
        ("members-1-model_id", "x", "The profile enables this model already"),
        ("members-2-replicas", "2", "This field is required"),
        ("routing_cold_wait_seconds", "86401", "less than or equal to 86400"),
        ("tiers-0-max_score", "-1", "greater than or equal to 0"),
        ("routing_classifier", "oracle", "oracle is not one of the available choices"),
        ("routing_cold_wait_seconds", "-1", "greater than or equal to 0"),
        ("health_check_interval", "0", "1"),
        ("name", "../../etc/passwd", "no path"),
    ],
)
def test_what_is_wrong_is_said_in_the_form_and_nothing_is_saved(
    admin_client: Client, field: str, value: str, words: str
) -> None:
    profile = save_yaml(TEXT)
    url = page_of(profile)
    form = form_of(admin_client.get(url))

    response = admin_client.post(url, form | {field: value}, follow=True)

    assert words in response.content.decode()
    assert get_profile("a").version == 1
    assert as_document(get_profile("a")) == as_document(profile)


def test_a_name_that_is_taken_is_refused_at_its_field(admin_client: Client) -> None:
    save_yaml(TEXT)
    url = reverse("admin:profiles_app_profile_add")
    form = form_of(admin_client.get(url))

    page = admin_client.post(url, form | {"name": "a"})

    assert page.context["adminform"].form.errors == {
        "name": ["There is a profile 'a' already. Choose another name."]
    }
    assert Profile.objects.count() == 1


def test_models_stand_in_the_order_that_was_typed(admin_client: Client) -> None:
    profile = save_yaml("name: A\nenabled_models: [x, y, z]\n")
    url = page_of(profile)
    form = form_of(admin_client.get(url))
    added = {"members-3-model_id": "new", "members-3-position": "1"}

    admin_client.post(url, form | {"members-0-position": "7", **added})

    assert as_document(get_profile("a"))["enabled_models"] == ["y", "new", "z", "x"]


def test_a_model_is_taken_out(admin_client: Client) -> None:
    profile = save_yaml(TEXT)
    url = page_of(profile)

    admin_client.post(url, form_of(admin_client.get(url)) | {"members-0-DELETE": "on"})

    assert as_document(get_profile("a"))["enabled_models"] == ["y"]


def test_run_settings_and_aliases_are_typed_as_people_write_them(
    admin_client: Client,
) -> None:
    profile = save_yaml(TEXT)
    url = page_of(profile)
    form = form_of(admin_client.get(url))
    typed = {
        "members-0-run_settings": "ctx_size: 4096\nflash_attn: on",
        "members-0-aliases": "gpt-4o, gpt-4",
    }

    admin_client.post(url, form | typed)

    assert as_document(get_profile("a"))["enabled_models"][0] == {
        "model_id": "x",
        "aliases": ["gpt-4o", "gpt-4"],
        "run_settings": {"ctx_size": 4096, "flash_attn": "on"},
    }
    shown = form_of(admin_client.get(url))
    assert shown["members-0-run_settings"].startswith("ctx_size: 4096\nflash_attn: ")
    assert shown["members-0-aliases"] == "gpt-4o, gpt-4"


def test_a_page_says_at_its_fields_what_validation_finds(
    admin_client: Client, make_model: MakeModel
) -> None:
    make_model("x")
    profile = save_yaml(TEXT + "two_stage: {enabled: true}\n")

    page = admin_client.get(page_of(profile))

    members = page.context["inline_admin_formsets"][0].formset.forms
    assert members[0].known.model_id == "x"
    assert [str(each.message)[:33] for each in members[1].findings] == [
        "No model here has the id y. `mana"
    ]
    assert "two_stage_stage1_tier" in page.context["adminform"].form.findings_by_field


def test_who_may_only_see_a_profile_gets_no_field_and_no_button(viewer: Client) -> None:
    profile = save_yaml(TEXT + "run_settings: {ctx_size: 4096}\n")

    page = viewer.get(page_of(profile)).content.decode()
    listed = viewer.get(reverse("admin:profiles_app_profile_changelist")).content.decode()

    assert "ctx_size: 4096" in page
    assert "<textarea" not in page
    assert 'name="_save"' not in page
    assert "Copy" not in page + listed
    assert "Import" not in listed


def test_the_list_asks_no_more_of_the_database_with_more_profiles(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(20):
        save_yaml(f"name: P {number}\nenabled_models: [x, y]\n")

    with django_assert_max_num_queries(12):
        page = admin_client.get(reverse("admin:profiles_app_profile_changelist"))

    assert page.content.decode().count("/export/") == 20


def test_a_circle_is_refused_at_its_field(admin_client: Client) -> None:
    parent = save_yaml(TEXT)
    child = save_yaml("name: B\nextends: a\n")
    url = page_of(parent)
    form = form_of(admin_client.get(url))

    response = admin_client.post(url, form | {"extends": str(child.pk)})

    assert response.status_code == 200
    assert "A circle" in response.content.decode()


def test_a_deleted_profile_leaves_its_versions(admin_client: Client) -> None:
    profile = save_yaml(TEXT)

    admin_client.post(
        reverse("admin:profiles_app_profile_delete", args=[profile.pk]), {"post": "yes"}
    )

    assert not Profile.objects.exists()
    assert [version.summary for version in ProfileVersion.objects.all()] == [
        "deleted",
        "created",
    ]


def test_versions_and_settings_have_pages(admin_client: Client) -> None:
    save_yaml(TEXT)
    version = ProfileVersion.objects.get()
    ModelRunSettings.objects.create(model_id="x", run_settings={"ctx_size": 4096})

    for url in (
        reverse("admin:profiles_app_profile_changelist"),
        reverse("admin:profiles_app_profileversion_change", args=[version.pk]),
        reverse("admin:profiles_app_modelrunsettings_changelist"),
        reverse("admin:profiles_app_baserunsettings_changelist"),
    ):
        assert admin_client.get(url, follow=True).status_code == 200


def test_base_run_settings_are_checked(admin_client: Client) -> None:
    base = BaseRunSettings.objects.create(pk=1)
    url = reverse("admin:profiles_app_baserunsettings_change", args=[base.pk])

    assert (
        "batch_size"
        in admin_client.post(url, {"run_settings": '{"batch_siz": 1}'}).content.decode()
    )
    admin_client.post(url, {"run_settings": '{"batch_size": 1024}'})

    base.refresh_from_db()
    assert base.run_settings == {"batch_size": 1024}
