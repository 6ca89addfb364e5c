"""GET /api/admin/audit: pages of entries, chosen by who, what and which; not for everybody."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from models_app import audit
from models_app.acting import acting
from models_app.audit_models import Action, AuditEntry, Via
from models_app.audit_targets import Target
from servers_app.apikey_models import Scope
from servers_app.apikeys import new_key

pytestmark = pytest.mark.django_db

AUDIT = "/api/admin/audit"


def write(count: int = 1, who: str = "ada", via: Via = Via.API, target: str = "qwen") -> None:
    with acting(who, via):
        for number in range(count):
            after = {"tier_override": str(number)}
            audit.record(Action.OVERRIDE, Target("model", target, target.upper()), after=after)


def got(client: Client, query: str = "") -> list[str]:
    entries = client.get(f"{AUDIT}{query}").json()["entries"]
    return [f"{entry['who']} {entry['target_id']}" for entry in entries]


def test_an_entry_has_who_what_before_and_after(client: Client) -> None:
    write()

    answer = client.get(AUDIT).json()

    (entry,) = answer.pop("entries")
    assert answer == {"count": 1, "next": None, "previous": None}
    assert entry.pop("at").endswith("Z")
    assert entry == {
        "who": "ada",
        "via": "api",
        "action": "override",
        "target_kind": "model",
        "target_id": "qwen",
        "target_name": "QWEN",
        "before": None,
        "after": {"tier_override": "0"},
        "request_id": "",
    }


def test_entries_are_chosen(client: Client) -> None:
    write()
    write(who="bob", via=Via.ADMIN)
    write(target="gemma")

    assert got(client, "?who=bob") == ["bob qwen"]
    assert got(client, "?via=admin") == ["bob qwen"]
    assert got(client, "?target=gemma") == ["ada gemma"]
    assert got(client, "?target=GEMMA&kind=model") == ["ada gemma"]
    assert got(client, "?action=start") == []
    assert got(client) == ["ada gemma", "bob qwen", "ada qwen"]


def test_pages_lead_to_each_other(
    client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    write(60)

    with django_assert_max_num_queries(2):
        first = client.get(f"{AUDIT}?who=ada").json()
    second = client.get(first["next"]).json()

    assert (first["count"], first["previous"]) == (60, None)
    assert (len(first["entries"]), len(second["entries"])) == (50, 10)
    assert second["next"] is None
    assert second["previous"] == f"{AUDIT}?who=ada&page=1"


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("?via=window", 400, "via=window: it is one of: api, admin, command, system."),
        ("?page=0", 400, "page=0: it is a number from 1"),
        ("?whom=ada", 400, "whom: there is no such parameter."),
        ("?who=a%00b", 400, "who"),
        ("?page=2", 404, "page=2: there is 1."),
    ],
)
def test_what_cannot_be_meant_is_refused(
    client: Client, query: str, status: int, said: str
) -> None:
    answer = client.get(f"{AUDIT}{query}")

    assert answer.status_code == status
    assert answer.json()["detail"].startswith(said)


def test_it_is_not_for_everybody(client: Client, settings: Settings) -> None:
    settings.MAGI_API_AUTH = "required"
    reader = new_key("reader", scopes=[Scope.READ]).secret
    manager = new_key("manager", scopes=[Scope.MANAGE]).secret
    bob = User.objects.create_user("bob", is_staff=True)

    def status(secret: str) -> int:
        return client.get(AUDIT, headers={"Authorization": f"Bearer {secret}"}).status_code

    assert client.get(AUDIT).status_code == 401
    assert (status(reader), status(manager)) == (403, 200)
    client.force_login(bob)
    assert client.get(AUDIT).status_code == 403
    bob.user_permissions.add(Permission.objects.get(codename="view_auditentry"))
    assert client.get(AUDIT).status_code == 200


def test_a_key_is_named_as_who_changed_something(client: Client, settings: Settings) -> None:
    settings.MAGI_API_AUTH = "required"
    secret = new_key("laptop", scopes=[Scope.MANAGE]).secret
    AuditEntry.objects.all().delete()

    answer = client.post(
        "/api/models/profiles",
        {"name": "Mine"},
        content_type="application/json",
        headers={"Authorization": f"Bearer {secret}"},
    )

    assert answer.status_code == 201
    entry = AuditEntry.objects.get()
    assert (entry.who, entry.via, entry.action) == ("key laptop", "api", "create")
    assert secret not in str(vars(entry))


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_nobody_changes_it(client: Client, method: str) -> None:
    write()

    assert getattr(client, method)(AUDIT).status_code == 405
    assert AuditEntry.objects.count() == 1
