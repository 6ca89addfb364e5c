"""Who may call what of the REST API: every call that there is, by everybody there can be."""

import pytest
from django.contrib.auth.models import Permission, User
from django.http import HttpResponse
from django.test import Client
from django.urls import path
from pytest_django import Settings
from rest_framework.request import Request
from rest_framework.views import APIView

from magi_site.api_keys import KeyCaller
from magi_site.groups import ADMIN, OPERATOR, VIEWER, permissions_of
from profiles_app.models import Profile, ProfileVersion
from servers_app import apikeys
from servers_app.apikey_models import ApiKey, Scope
from tests.conftest import MakeProfile
from tests.magi_site.callers import EVERYBODY, KEYS, PEOPLE, Call, calls, client_of, patterns

pytestmark = pytest.mark.django_db

OPERATORS = ("an operator", "an admin")
PASSED = 299  # what no view answers


@pytest.fixture
def shut(settings: Settings) -> None:
    settings.MAGI_API_AUTH = "required"


def answer(client: Client, call: Call, monkeypatch: pytest.MonkeyPatch) -> int:
    """Make a call whose view does nothing; tell its status."""

    def do_nothing(*_args: object, **_options: object) -> HttpResponse:
        return HttpResponse(status=PASSED)

    with monkeypatch.context() as patch:
        patch.setattr(call.view, call.method, do_nothing)
        return client.generic(
            call.method.upper(), f"/{call.path}", "{}", content_type="application/json"
        ).status_code


def expected(who: str, call: Call) -> int:
    """Return the status that a call should have."""
    if who == "nobody":
        return 401
    if who in KEYS:
        has = {*KEYS[who], *(["read"] if Scope.MANAGE in KEYS[who] else [])}
        return PASSED if call.scope in has else 403
    if who not in PEOPLE:
        return 403
    if call.permission is None:
        return PASSED if call.is_safe else 403
    group = PEOPLE[who]
    may = group is not None and call.permission in permissions_of(group)
    return PASSED if may else 403


def test_every_call_that_changes_something_says_who_may() -> None:
    """A view that is added without saying so fails here."""
    known = {
        f"{row.content_type.app_label}.{row.codename}"
        for row in Permission.objects.select_related("content_type")
    }

    assert len(list(patterns())) > 15
    for _, callback in patterns():
        assert issubclass(getattr(callback, "cls", object), APIView), callback
    for call in calls():
        assert call.is_safe or call.permission, f"{call} names no permission"
        assert call.permission is None or call.permission in known, call
        assert call.scope in Scope.values, call


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.usefixtures("shut")
def test_everybody_may_what_they_may_and_nothing_else(
    who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(who)

    statuses = {str(call): answer(client, call, monkeypatch) for call in calls()}

    assert statuses == {str(call): expected(who, call) for call in calls()}


@pytest.mark.parametrize(
    ("method", "path", "roles"),
    [
        ("GET", "/api/models/registry", {"a key to read", "a key to manage", *PEOPLE}),
        ("POST", "/api/models/rescan", {"a key to manage", "an operator", "an admin"}),
        (
            "POST",
            "/api/models/servers/start-all",
            {"a key to manage", "an operator", "an admin"},
        ),
        ("DELETE", "/api/models/profiles/x", {"a key to manage", "an operator", "an admin"}),
        ("PUT", "/api/models/x/enabled", {"a key to manage", "an operator", "an admin"}),
        ("POST", "/api/query", {"a key to infer", *OPERATORS}),
    ],
)
@pytest.mark.usefixtures("shut")
def test_the_matrix_is_what_people_are_told(
    method: str, path: str, roles: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (call,) = (call for call in calls() if str(call) == f"{method} {path}")

    let_in = {who for who in EVERYBODY if answer(client_of(who), call, monkeypatch) == PASSED}

    assert let_in == roles


@pytest.mark.parametrize("who", ["nobody", "somebody signed in", "a viewer"])
def test_an_open_api_lets_anybody_call(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(who)

    assert {answer(client, call, monkeypatch) for call in calls()} == {PASSED}


@pytest.mark.parametrize("who", KEYS)
def test_a_key_holds_where_none_is_needed(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(who)

    statuses = {str(call): answer(client, call, monkeypatch) for call in calls()}

    assert statuses == {str(call): expected(who, call) for call in calls()}


class Undeclared(APIView):
    """A view of somebody who has not thought of who may call it."""

    def post(self, request: Request) -> HttpResponse:
        return HttpResponse(status=PASSED)


@pytest.mark.parametrize(("is_superuser", "status"), [(False, 403), (True, PASSED)])
@pytest.mark.usefixtures("shut")
def test_a_view_that_says_nothing_is_for_superusers(
    is_superuser: bool, status: int, settings: Settings
) -> None:
    settings.ROOT_URLCONF = __name__
    user = User.objects.create_user("ada", is_staff=True, is_superuser=is_superuser)
    user.user_permissions.set(Permission.objects.all())
    client = Client()
    client.force_login(user)

    assert client.post("/undeclared").status_code == status


@pytest.mark.usefixtures("shut")
def test_what_a_view_does_not_have_is_405_for_who_may_come_in() -> None:
    assert client_of("a viewer").delete("/api/models/registry").status_code == 405
    assert client_of("nobody").delete("/api/models/registry").status_code == 401


@pytest.mark.usefixtures("shut")
def test_a_session_changes_nothing_without_the_csrf_token(make_profile: MakeProfile) -> None:
    make_profile("mine")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.create_superuser("root"))

    refused = strict.delete("/api/models/profiles/mine")

    assert refused.status_code == 403
    assert "CSRF" in refused.json()["detail"]
    assert Profile.objects.filter(slug="mine").exists()


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer magi_" + "0" * 64},
        {"authorization": "Bearer sk-none"},
        {"authorization": "Bearer magi_ÿ"},
        {"x-api-key": "magi_nothing"},
    ],
)
@pytest.mark.usefixtures("shut")
def test_a_bad_key_is_401_and_is_not_repeated(client: Client, headers: dict[str, str]) -> None:
    response = client.get("/api/models/registry", headers=headers)

    assert (response.status_code, response["WWW-Authenticate"]) == (401, "Bearer")
    assert response.json() == {"detail": "The API key is not known here, or it was revoked."}


def test_an_open_api_ignores_what_is_no_key_of_ours(client: Client) -> None:
    headers = {"authorization": "Bearer sk-none"}

    assert client.get("/api/models/profiles", headers=headers).status_code == 200


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
@pytest.mark.usefixtures("shut")
def test_a_revoked_key_is_refused_with_its_next_call(client: Client, header: str) -> None:
    key, secret = apikeys.new_key("ci", scopes=[Scope.READ])
    headers = {header: f"Bearer {secret}" if header == "authorization" else secret}

    before = client.get("/api/models/profiles", headers=headers)
    apikeys.revoke(key)
    after = client.get("/api/models/profiles", headers=headers)

    assert (before.status_code, after.status_code) == (200, 401)
    key.refresh_from_db()
    assert key.last_used_at is not None


@pytest.mark.usefixtures("shut")
def test_a_key_that_calls_too_often_is_told_when_to_call_again(client: Client) -> None:
    _, secret = apikeys.new_key("ci", scopes=[Scope.READ], rate_limit_per_minute=2)
    headers = {"authorization": f"Bearer {secret}"}

    statuses = [
        client.get("/api/models/profiles", headers=headers).status_code for _ in range(2)
    ]
    refused = client.get("/api/models/profiles", headers=headers)

    assert [*statuses, refused.status_code] == [200, 200, 429]
    assert 1 <= int(refused["Retry-After"]) <= 60


@pytest.mark.usefixtures("shut")
def test_what_a_key_does_is_done_in_its_name(client: Client, make_profile: MakeProfile) -> None:
    make_profile("mine")
    _, secret = apikeys.new_key("deploy", scopes=[Scope.MANAGE])

    response = client.patch(
        "/api/models/profiles/mine",
        {"description": "Changed"},
        content_type="application/json",
        headers={"authorization": f"Bearer {secret}"},
    )

    assert response.status_code == 200
    assert ProfileVersion.objects.filter(slug="mine").latest("number").author == "key deploy"


def test_a_key_may_no_more_than_the_group_it_stands_for() -> None:
    reader = KeyCaller(ApiKey(name="r", may_read=True, may_infer=False))
    manager = KeyCaller(ApiKey(name="m", may_manage=True, may_infer=False))
    asker = KeyCaller(ApiKey(name="i"))

    assert reader.has_perm("servers_app.view_server")
    assert not reader.has_perm("servers_app.change_server")
    assert not reader.has_perm("servers_app.infer")
    assert manager.has_perms(["servers_app.change_server", "servers_app.view_server"])
    assert not manager.has_perm("servers_app.infer")
    assert not manager.has_perm("servers_app.add_apikey")
    assert not manager.has_perm("auth.change_user")
    assert asker.has_perm("servers_app.infer")
    assert not asker.has_perm("servers_app.view_server")
    assert (reader.is_staff, reader.is_authenticated) == (False, True)


def test_groups_hold_one_another() -> None:
    assert permissions_of(VIEWER) < permissions_of(OPERATOR) < permissions_of(ADMIN)


urlpatterns = [path("undeclared", Undeclared.as_view())]
