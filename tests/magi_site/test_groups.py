"""The groups that ship, and that pages of the admin go by what they may."""

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

from magi_site.groups import ADMIN, OPERATOR, VIEWER, ensure_groups, permissions_of
from models_app.models import ScanRoot
from servers_app import apikeys
from servers_app.models import Server, Wanted
from tests.conftest import MakeModel, MakeProfile, MakeServer

pytestmark = pytest.mark.django_db

OUR_PAGES = ("models_app", "profiles_app", "servers_app")


def member(name: str) -> Client:
    """Return a client of a member of the staff who is in that group."""
    ensure_groups()
    user = User.objects.create_user(name, is_staff=True)
    user.groups.add(Group.objects.get(name=name))
    client = Client()
    client.force_login(user)
    return client


def names_in(group: str) -> set[str]:
    rows = Group.objects.get(name=group).permissions.select_related("content_type")
    return {f"{row.content_type.app_label}.{row.codename}" for row in rows}


@pytest.mark.parametrize("group", [VIEWER, OPERATOR, ADMIN])
def test_each_group_has_all_that_it_is_said_to_have(group: str) -> None:
    """No codename is one that Django does not know."""
    ensure_groups()

    assert names_in(group) == permissions_of(group)


def test_a_viewer_changes_nothing_and_sees_no_keys() -> None:
    verbs = {name.partition(".")[2].partition("_")[0] for name in permissions_of(VIEWER)}

    assert verbs == {"view"}
    names = permissions_of(VIEWER) | permissions_of(OPERATOR)
    assert not any("apikey" in name or name.startswith("auth.") for name in names)


def test_an_admin_has_keys_and_accounts() -> None:
    assert {"servers_app.add_apikey", "servers_app.change_apikey", "auth.add_user"} <= (
        permissions_of(ADMIN)
    )


def test_made_again_they_are_what_ships_and_members_stay() -> None:
    ensure_groups()
    group = Group.objects.get(name=OPERATOR)
    user = User.objects.create_user("ada")
    user.groups.add(group)
    group.permissions.remove(Permission.objects.get(codename="change_server"))
    group.permissions.add(Permission.objects.get(codename="add_apikey"))
    mine = Group.objects.create(name="mine")

    ensure_groups()

    assert names_in(OPERATOR) == permissions_of(OPERATOR)
    assert list(user.groups.all()) == [group]
    assert Group.objects.count() == 4
    assert not mine.permissions.exists()


@pytest.mark.parametrize("group", [VIEWER, OPERATOR])
def test_every_list_opens_for_who_may_see_it_and_for_nobody_else(group: str) -> None:
    client = member(group)

    for app in client.get(reverse("admin:index")).context["app_list"]:
        if app["app_label"] in OUR_PAGES:
            for model in app["models"]:
                status = client.get(model["admin_url"], follow=True).status_code
                assert status == 200, model["name"]
    assert client.get(reverse("admin:servers_app_apikey_changelist")).status_code == 403
    assert client.get(reverse("admin:auth_user_changelist")).status_code == 403


@pytest.mark.parametrize(
    ("page", "action"),
    [
        ("servers_app_server", "start_selected"),
        ("servers_app_server", "stop_selected_at_once"),
        ("profiles_app_profile", "/activate/"),
        ("models_app_discoveredmodel", "enable_selected"),
        ("models_app_scanroot", "rescan_nodes"),
        ("servers_app_apikey", "revoke_selected"),
    ],
)
def test_a_viewer_is_offered_no_action_that_changes_something(
    make_model: MakeModel,
    make_server: MakeServer,
    make_profile: MakeProfile,
    page: str,
    action: str,
) -> None:
    make_server(make_model("a"))
    make_profile("mine", "a")
    ScanRoot.objects.create(path="/models", node="local")
    apikeys.new_key("ci")
    client = member(VIEWER)

    response = client.get(reverse(f"admin:{page}_changelist"))

    assert response.status_code == 403 or action not in response.content.decode()


def test_a_viewer_who_posts_an_action_all_the_same_changes_nothing(
    make_model: MakeModel, make_server: MakeServer, make_profile: MakeProfile
) -> None:
    client = member(VIEWER)
    server = make_server(make_model("a"))
    profile = make_profile("mine", "a")
    posts = [
        ("servers_app_server", "start_selected", server.pk),
    ]

    for page, action, pk in posts:
        data = {"action": action, "_selected_action": [pk]}
        client.post(reverse(f"admin:{page}_changelist"), data)
    ask = reverse("admin:servers_app_server_ask", args=[server.pk])
    activate = reverse("admin:profiles_app_profile_activate", args=[profile.pk])

    assert client.post(activate).status_code == 403
    assert client.post(ask, {"ask": "start"}).status_code == 403
    profile.refresh_from_db()
    assert not profile.is_active
    assert Server.objects.get().wanted == Wanted.STOPPED


def test_an_operator_is_offered_a_rescan_and_no_new_scan_root() -> None:
    ScanRoot.objects.create(path="/models", node="local")
    client = member(OPERATOR)

    page = client.get(reverse("admin:models_app_scanroot_changelist"))

    assert "rescan_nodes" in page.content.decode()
    assert client.get(reverse("admin:models_app_scanroot_add")).status_code == 403


def test_the_dashboard_shows_what_somebody_may_see(
    make_model: MakeModel, make_server: MakeServer, make_profile: MakeProfile
) -> None:
    make_server(make_model("secret-model"), wanted=Wanted.RUNNING, state="ready")
    make_profile("mine", is_active=True)
    stranger = Client()
    stranger.force_login(User.objects.create_user("bob", is_staff=True))

    assert "SECRET-MODEL" in member(VIEWER).get(reverse("admin:index")).content.decode()
    page = stranger.get(reverse("admin:index")).content.decode()
    assert "SECRET-MODEL" not in page
    assert "Mine" not in page
