"""API keys in the admin: shown once, then only to be read or revoked, by who may."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from models_app.audit_models import AuditEntry, Via
from servers_app import apikeys
from servers_app.apikey_models import ApiKey, Scope
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db

LIST = "admin:servers_app_apikey_changelist"
ADD = "admin:servers_app_apikey_add"


def signed_in(*codenames: str) -> Client:
    """Return a client of a member of the staff with these permissions."""
    user = User.objects.create_user("bob", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def make(client: Client, **fields: str) -> Any:
    return client.post(reverse(ADD), {"name": "ci", "may_infer": "on", **fields})


def page_of(client: Client, key: ApiKey) -> str:
    url = reverse("admin:servers_app_apikey_change", args=[key.pk])
    return client.get(url).content.decode()


def revoke_url(key: ApiKey) -> str:
    return reverse("admin:servers_app_apikey_revoke", args=[key.pk])


def secret_in(page: str) -> str:
    return page.partition('id="secret">')[2].partition("<")[0]


def test_a_key_is_made_by_the_form_and_shown_once(
    admin_client: Client, make_model: MakeModel
) -> None:
    make_model("a")
    tomorrow = timezone.now() + timedelta(days=1)

    response = make(
        admin_client,
        model_ids="a",
        rate_limit_per_minute="60",
        expires_at_0=f"{tomorrow:%Y-%m-%d}",
        expires_at_1="12:00:00",
    )

    key = ApiKey.objects.get()
    secret = secret_in(response.content.decode())
    assert apikeys.find(secret) == key
    assert "no-store" in response["Cache-Control"]
    assert (key.model_ids, key.rate_limit_per_minute) == (["a"], 60)
    assert key.scopes == {Scope.INFER}
    assert key.created_by == "admin"
    assert key.expires_at is not None


def test_a_secret_is_in_nothing_that_comes_after(admin_client: Client) -> None:
    response = make(admin_client)
    secret = secret_in(response.content.decode())
    key = ApiKey.objects.get()
    random_part = secret.removeprefix(key.prefix)

    pages = [
        *(admin_client.get(reverse(name)).content.decode() for name in (LIST, "admin:index")),
        page_of(admin_client, key),
        str(LogEntry.objects.values_list("object_repr", "change_message")),
        str(list(AuditEntry.objects.values_list("before", "after"))),
        str([session.get_decoded() for session in Session.objects.all()]),
        str(response.cookies),
        str(admin_client.cookies),
    ]

    assert len(random_part) > 50
    assert not any(random_part in page for page in pages)
    assert not any(key.hash in page for page in pages)


def test_its_page_is_only_to_be_read(admin_client: Client) -> None:
    key = apikeys.new_key("ci").key
    url = reverse("admin:servers_app_apikey_change", args=[key.pk])

    page = page_of(admin_client, key)
    posted = admin_client.post(url, {"name": "other", "hash": "0" * 64})

    assert key.prefix in page
    assert 'name="name"' not in page
    assert "Save" not in page
    assert posted.status_code == 403
    delete = reverse("admin:servers_app_apikey_delete", args=[key.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403
    key.refresh_from_db()
    assert key.name == "ci"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        pytest.param({"name": "taken"}, "Revoke it first", id="a name that is taken"),
        pytest.param({"may_infer": ""}, "without a scope", id="no scope"),
        pytest.param({"model_ids": "gpt-9"}, "gpt-9", id="a model that is not here"),
        pytest.param({"rate_limit_per_minute": "0"}, "greater than or equal to 1", id="rate"),
        pytest.param(
            {"expires_at_0": "2020-01-01", "expires_at_1": "0:00"}, "passed", id="expired"
        ),
    ],
)
def test_what_cannot_be_is_said_in_the_form(
    admin_client: Client, fields: dict[str, str], told: str
) -> None:
    apikeys.new_key("taken")
    # An unticked box is not sent at all.
    sent = {"name": "ci", "may_infer": "on", **fields}
    response = admin_client.post(reverse(ADD), {k: v for k, v in sent.items() if v})

    assert response.status_code == 200
    assert told in response.content.decode()
    assert ApiKey.objects.count() == 1


def test_a_key_is_revoked_by_its_button_and_by_the_action(admin_client: Client) -> None:
    keys = [apikeys.new_key(name).key for name in ("one", "two", "three")]
    assert revoke_url(keys[0]) in page_of(admin_client, keys[0])
    assert revoke_url(keys[0]) in admin_client.get(reverse(LIST)).content.decode()

    response = admin_client.post(revoke_url(keys[0]), follow=True)
    admin_client.post(
        reverse(LIST),
        {
            "action": "revoke_selected",
            "_selected_action": [key.pk for key in keys[1:]],
            "confirmed": "yes",
        },
    )

    assert "Revoked the key one." in response.content.decode()
    assert not apikeys.usable().exists()
    assert revoke_url(keys[0]) not in page_of(admin_client, keys[0])
    entries = AuditEntry.objects.filter(action="revoke")
    assert {(entry.who, entry.via) for entry in entries} == {("admin", Via.ADMIN)}


def test_revoking_it_twice_says_so(admin_client: Client) -> None:
    key = apikeys.new_key("ci").key
    admin_client.post(revoke_url(key))

    response = admin_client.post(revoke_url(key), follow=True)

    assert "revoked already" in response.content.decode()


def test_only_a_post_revokes(admin_client: Client) -> None:
    key = apikeys.new_key("ci").key

    page = admin_client.get(revoke_url(key)).content.decode()
    assert "refused at once" in page
    assert key.prefix in page
    assert apikeys.usable().exists()


def test_the_action_asks_first_and_names_the_keys(admin_client: Client) -> None:
    keys = [apikeys.new_key(name).key for name in ("one", "two")]
    chosen = {"action": "revoke_selected", "_selected_action": [key.pk for key in keys]}

    page = admin_client.post(reverse(LIST), chosen).content.decode()

    assert all(key.prefix in page for key in keys)
    assert "Revoke 2 keys" in page
    assert apikeys.usable().count() == 2


def test_a_page_of_another_site_revokes_nothing(admin_user: User) -> None:
    key = apikeys.new_key("ci").key
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)

    assert strict.post(revoke_url(key)).status_code == 403
    assert apikeys.usable().exists()


def test_who_may_look_may_not_make_or_revoke() -> None:
    client, key = signed_in("view_apikey"), apikeys.new_key("ci").key

    page = client.get(reverse(LIST)).content.decode()

    assert "ci" in page
    assert "magi-ask" not in page
    assert revoke_url(key) not in page_of(client, key)
    assert client.post(revoke_url(key)).status_code == 403
    client.post(reverse(LIST), {"action": "revoke_selected", "_selected_action": [key.pk]})
    assert make(client, name="mine").status_code == 403
    assert apikeys.usable().count() == 1


def test_who_may_not_look_sees_nothing() -> None:
    client, key = signed_in("view_server"), apikeys.new_key("ci").key

    assert client.get(reverse(LIST)).status_code == 403
    url = reverse("admin:servers_app_apikey_change", args=[key.pk])
    assert client.get(url).status_code == 403


@pytest.mark.parametrize(
    ("state", "shown"), [("in-use", "fresh"), ("expired", "old"), ("revoked", "gone")]
)
def test_keys_are_found_by_their_state(admin_client: Client, state: str, shown: str) -> None:
    apikeys.new_key("fresh")
    apikeys.revoke(apikeys.new_key("gone").key)
    now = timezone.now()
    apikeys.new_key("old")
    ApiKey.objects.filter(name="old").update(
        created_at=now - timedelta(days=2), expires_at=now - timedelta(days=1)
    )

    response = admin_client.get(reverse(LIST), {"state": state})

    assert [key.name for key in response.context["cl"].result_list] == [shown]


def test_the_list_costs_the_same_for_many_keys(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(30):
        apikeys.new_key(f"key {number}")

    with django_assert_max_num_queries(8):
        admin_client.get(reverse(LIST))
