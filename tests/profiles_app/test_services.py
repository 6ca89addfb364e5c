import pytest
from pytest_django import Settings

from profiles_app.errors import (
    ProfileChangedError,
    ProfileExistsError,
    ProfileInUseError,
    ProfileInvalidError,
    ProfileNotFoundError,
    VersionNotFoundError,
)
from profiles_app.models import Profile, ProfileVersion
from profiles_app.rows import as_document
from profiles_app.services import (
    change_members,
    delete_profile,
    make_active,
    profile_to_load,
    refresh_variables,
    roll_back,
    save_document,
    save_yaml,
)
from tests.conftest import MakeProfile

pytestmark = pytest.mark.django_db


def test_the_profile_of_the_environment_comes_first(
    make_profile: MakeProfile, settings: Settings
) -> None:
    make_profile("active", is_active=True)
    chosen = make_profile("production")
    settings.MAGI_PROFILE = "production"

    assert profile_to_load() == chosen


def test_else_the_one_that_was_active_last_is_loaded(make_profile: MakeProfile) -> None:
    make_profile("development")
    active = make_profile("mine", is_active=True)

    assert profile_to_load() == active


def test_else_it_is_development(make_profile: MakeProfile) -> None:
    development = make_profile("development")

    assert profile_to_load() == development


def test_a_missing_one_is_named(make_profile: MakeProfile, settings: Settings) -> None:
    make_profile("development")
    settings.MAGI_PROFILE = "x"

    with pytest.raises(ProfileNotFoundError, match="Profile 'x' not found"):
        profile_to_load()


# -- saving


def save(text: str, slug: str = "") -> Profile:
    return save_yaml(text, slug=slug, author="ann")


def test_a_profile_is_called_by_its_name() -> None:
    assert save("profile: {name: My Custom Profile}\n").slug == "my-custom-profile"


def test_each_change_is_a_version_that_says_who_and_what() -> None:
    profile = save("name: A\nqueue: {limit: 5}\n")
    save_document({**as_document(profile), "enabled_models": ["x"]}, slug="a", author="bob")

    newest, oldest = ProfileVersion.objects.filter(slug="a")
    assert (oldest.number, oldest.author, oldest.summary) == (1, "ann", "created")
    assert (newest.number, newest.author) == (2, "bob")
    assert newest.summary == "enabled_models: + x"
    assert oldest.yaml == "name: A\nqueue: {limit: 5}\n"


def test_saving_what_is_there_is_no_version() -> None:
    profile = save("name: A\n")

    save("name: A\n")
    save_document(as_document(profile), slug="a")

    assert ProfileVersion.objects.count() == 1


def test_a_change_keeps_the_comments_and_what_it_does_not_touch() -> None:
    text = "# why\nname: A\n\n# small\nqueue: {limit: 5}  # few\n\nmemory: {budget_mib: 100}\n"
    profile = save(text)

    changed = save_document(
        {**as_document(profile), "memory": {"budget_mib": 200, "eviction": "never"}}, slug="a"
    )

    assert changed.yaml.startswith(text[: text.index("memory")])
    assert "budget_mib: 200" in changed.yaml
    assert as_document(changed)["queue"]["limit"] == 5


def test_a_rollback_is_a_version_like_any_other() -> None:
    profile = save("name: A\nqueue: {limit: 5}\n")
    save("name: A\nqueue: {limit: 6}\n")

    back = roll_back("a", 1, author="bob")

    assert (back.queue_limit, back.yaml, back.version) == (5, profile.yaml, 3)
    assert ProfileVersion.objects.get(slug="a", number=3).summary.startswith(
        "rolled back to version 1"
    )


def test_a_version_that_is_not_there_is_named() -> None:
    save("name: A\n")

    with pytest.raises(VersionNotFoundError, match=r"no version 7\. It has versions 1 to 1"):
        roll_back("a", 7)


def test_a_deleted_profile_can_be_brought_back() -> None:
    delete_profile(save("name: A\nqueue: {limit: 5}\n"))
    assert not Profile.objects.exists()

    assert roll_back("a", 1).queue_limit == 5


def test_the_active_profile_and_one_that_others_extend_are_not_deleted() -> None:
    active, parent = save("name: Active\n"), save("name: Parent\n")
    save("name: Child\nextends: parent\n")
    make_active(active)

    with pytest.raises(ProfileInUseError, match="is active"):
        delete_profile(active)
    with pytest.raises(ProfileInUseError, match="extended by child"):
        delete_profile(parent)


def test_the_second_of_two_who_change_one_version_is_told() -> None:
    profile = save("name: A\n")
    document = as_document(profile)
    save_document({**document, "description": "first"}, slug="a", seen=1, author="ann")

    with pytest.raises(ProfileChangedError, match="ann saved version 2"):
        save_document({**document, "description": "second"}, slug="a", seen=1, author="bob")

    assert Profile.objects.get().description == "first"


def test_a_new_profile_does_not_replace_one_that_is_there() -> None:
    save("name: A\n")

    with pytest.raises(ProfileExistsError, match="'a' exists already"):
        save_document({"name": "a"}, is_new=True)


# -- extends


PARENT = "name: Parent\nqueue: {limit: 5, wait_seconds: 6}\nenabled_models: [x]\n"
CHILD = "name: Child\nextends: parent\nqueue: {limit: 7}\n"


def test_a_profile_has_what_it_says_and_the_rest_from_what_it_extends() -> None:
    save(PARENT)

    child = save(CHILD)

    assert (child.queue_limit, child.queue_wait_seconds) == (7, 6)
    assert as_document(child)["enabled_models"] == ["x"]


def test_a_change_of_the_parent_reaches_its_children_where_they_say_nothing() -> None:
    save(PARENT)
    save(CHILD)
    save("name: Grandchild\nextends: child\n")

    save("name: Parent\nqueue: {limit: 50, wait_seconds: 60}\n")

    grandchild = Profile.objects.get(slug="grandchild")
    assert (grandchild.queue_limit, grandchild.queue_wait_seconds) == (7, 60)
    newest = ProfileVersion.objects.filter(slug="child").first()
    assert newest is not None
    assert newest.summary.startswith("parent has changed")


def test_an_edited_child_is_written_with_only_the_differences() -> None:
    save(PARENT)
    document = as_document(save(CHILD))

    child = save_document({**document, "description": "mine"}, slug="child")

    assert child.yaml == CHILD + "\ndescription: mine\n" or "wait_seconds" not in child.yaml
    assert "enabled_models" not in child.yaml
    assert child.extends is not None


def test_another_parent_changes_what_is_not_said() -> None:
    save(PARENT)
    save("name: Other\nqueue: {limit: 1, wait_seconds: 2}\n")
    document = as_document(save(CHILD))

    child = save_document({**document, "extends": "other"}, slug="child")

    # The document said it all: the child is as it was asked to be, whatever it extends.
    assert (child.queue_limit, child.queue_wait_seconds) == (7, 6)


def test_a_circle_is_refused_by_name() -> None:
    save(PARENT)
    save(CHILD)

    with pytest.raises(ProfileInvalidError, match="parent extends child extends parent"):
        save("name: Parent\nextends: child\n")


# -- variables


def test_a_variable_is_put_in_and_kept_in_the_text(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MAGI_PROFILE_VARIABLES = ("LIMIT",)
    monkeypatch.setenv("LIMIT", "9")
    profile = save("name: A\nqueue: {limit: '${LIMIT:-5}'}\n")
    assert profile.queue_limit == 9

    changed = save_document({**as_document(profile), "description": "x"}, slug="a")

    assert "${LIMIT:-5}" in changed.yaml


def test_another_value_of_a_variable_is_seen_at_the_next_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MAGI_PROFILE_VARIABLES = ("LIMIT",)
    save("name: A\nqueue: {limit: '${LIMIT:-5}'}\n")
    monkeypatch.setenv("LIMIT", "11")

    assert refresh_variables() == []

    assert Profile.objects.get().queue_limit == 11


def test_a_variable_that_is_not_allowed_says_nothing_of_its_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MAGI_SECRET_KEY", "hush")

    with pytest.raises(ProfileInvalidError, match="MAGI_SECRET_KEY") as error:
        save("name: A\ndescription: ${MAGI_SECRET_KEY}\n")

    assert "hush" not in str(error.value)


# -- members


def test_a_model_is_enabled_behind_the_others_and_disabled_again() -> None:
    profile = save("name: A\nenabled_models: [x, {model_id: y, replicas: 2}]\n")

    profile = change_members(profile, add=["z", "x"])
    assert as_document(profile)["enabled_models"] == [
        "x",
        {"model_id": "y", "replicas": 2},
        "z",
    ]

    profile = change_members(profile, remove=["x"])
    assert as_document(profile)["enabled_models"] == [{"model_id": "y", "replicas": 2}, "z"]


def test_a_profile_that_was_made_without_text_can_be_brought_back(
    make_profile: MakeProfile,
) -> None:
    delete_profile(make_profile("mine", "x"))

    assert as_document(roll_back("mine", 1))["enabled_models"] == ["x"]


@pytest.mark.django_db(transaction=True)
def test_two_who_enable_a_model_at_once_both_count() -> None:
    profile = save("name: A\n")
    stale = Profile.objects.get(pk=profile.pk)
    list(stale.members.all())

    change_members(profile, add=["x"])
    change_members(stale, add=["y"])

    assert as_document(Profile.objects.get())["enabled_models"] == ["x", "y"]


def test_the_second_of_two_who_make_a_profile_at_once_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save("name: A\n")
    monkeypatch.setattr("profiles_app.services._lock", lambda *_args: None)  # not there yet

    with pytest.raises(ProfileExistsError):
        save("name: A\ndescription: other\n")

    assert Profile.objects.get().description == ""
