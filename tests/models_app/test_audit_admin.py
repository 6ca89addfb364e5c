"""The audit in the admin: what is shown, to whom, and that nobody changes it."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from models_app import audit
from models_app.acting import acting
from models_app.audit_admin import LISTED_FIELDS, changes_of
from models_app.audit_models import Action, AuditEntry, Via
from models_app.audit_targets import Target, kinds, row_of, target_of
from tests.conftest import MakeModel, MakeProfile, MakeServer

pytestmark = pytest.mark.django_db

LIST = reverse("admin:models_app_auditentry_changelist")


def entry(
    action: Action = Action.UPDATE, who: str = "ada", via: Via = Via.API, **fields: Any
) -> AuditEntry:
    target = fields.pop("target", Target("thing", "7", "a thing"))
    with acting(who, via):
        audit.record(action, target, **fields)
    return AuditEntry.objects.latest("pk")


def page_of(client: Client, written: AuditEntry) -> str:
    url = reverse("admin:models_app_auditentry_change", args=[written.pk])
    return client.get(url).content.decode()


def listed(client: Client, **query: str) -> list[int]:
    cl = client.get(LIST, query).context["cl"]
    return sorted(each.pk for each in cl.result_list)


def client_of(*permissions: str) -> Client:
    user = User.objects.create_user("bob", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


# -- what is shown


def test_each_field_stands_with_what_it_was_and_is() -> None:
    before = {"two_stage": {"enabled": False}, "models": ["a"], "preset": None}
    after = {"two_stage": {"enabled": True}, "models": ["a", "b"], "notes": ""}

    assert [tuple(change) for change in changes_of(entry(before=before, after=after))] == [
        ("models", "", "+ b"),
        ("notes", "", '""'),
        ("preset", "null", ""),
        ("two_stage.enabled", "false", "true"),
    ]


def test_of_a_list_only_what_came_and_went_is_shown() -> None:
    def shown(before: list[object], after: list[object]) -> tuple[str, str]:
        (change,) = changes_of(entry(before={"models": before}, after={"models": after}))
        return change.before, change.after

    assert shown(["a", "b", "c"], ["c", "d", {"model_id": "e"}]) == (
        "- a\n- b",
        '+ d\n+ {"model_id": "e"}',
    )
    assert shown(["a", "b"], ["b", "a"]) == ('["a", "b"]', '["b", "a"]')
    assert shown([], ["a"]) == ("", "+ a")


def test_the_page_of_an_entry_shows_all_of_it(admin_client: Client) -> None:
    after = {f"field_{number}": "<b>bold</b>" for number in range(LISTED_FIELDS + 3)}

    page = page_of(admin_client, entry(before={}, after=after))

    assert f"field_{LISTED_FIELDS + 2}" in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "<b>bold</b>" not in page


def test_the_list_shows_the_beginning_of_a_long_entry(admin_client: Client) -> None:
    after = {f"field_{number}": "x" * 500 for number in range(LISTED_FIELDS + 3)}
    entry(before={}, after=after)

    page = admin_client.get(LIST).content.decode()

    assert "and 3 more" in page
    assert "x" * 100 not in page


def test_the_list_is_filtered_and_searched(admin_client: Client) -> None:
    AuditEntry.objects.all().delete()
    one = entry(Action.START, "ada", Via.API, target=Target("server", "1", "qwen")).pk
    two = entry(Action.STOP, "bob", Via.ADMIN, target=Target("server", "2", "gemma")).pk
    three = entry(Action.UPDATE, "ada", Via.ADMIN, target=Target("profile", "dev", "Dev")).pk

    assert listed(admin_client, via__exact="admin") == [two, three]
    assert listed(admin_client, action__exact="start") == [one]
    assert listed(admin_client, kind="server") == [one, two]
    assert listed(admin_client, who="ada") == [one, three]
    assert listed(admin_client, q="gemma") == [two]
    assert listed(admin_client, kind="server", target_id="2") == [two]


def test_the_list_costs_the_same_however_much_there_is(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(60):
        entry(before={"n": number}, after={"n": number + 1}, who=f"user-{number % 5}")

    with django_assert_max_num_queries(14):
        admin_client.get(LIST)


# -- the way there and back


@pytest.mark.parametrize("page", ["model", "server", "profile"])
def test_the_history_of_a_row_is_what_the_audit_has_of_it(
    admin_client: Client, make_server: MakeServer, make_profile: MakeProfile, page: str
) -> None:
    server = make_server()
    row = {"model": server.model, "server": server, "profile": make_profile("mine")}[page]
    name = f"admin:{row._meta.label_lower.replace('.', '_')}"
    own = entry(target=target_of(row)).pk
    entry(target=Target(page, "another"))

    button = admin_client.get(reverse(f"{name}_change", args=[row.pk])).content.decode()
    history = reverse(f"{name}_history", args=[row.pk])
    cl = admin_client.get(history, follow=True).context["cl"]

    assert f'href="{history}"' in button
    assert [each.pk for each in cl.result_list] == [own]


def test_the_history_of_what_is_not_there_is_not_found(admin_client: Client) -> None:
    for address in ("models_app/scanroot/99", "models_app/nothing/1", "sessions/session/1"):
        assert admin_client.get(f"/admin/{address}/history/").status_code == 404


def test_an_entry_leads_to_what_was_changed(
    admin_client: Client, make_model: MakeModel
) -> None:
    model = make_model()
    written = entry(target=target_of(model))
    link = f'href="{reverse("admin:models_app_discoveredmodel_change", args=[model.pk])}"'

    assert link in page_of(admin_client, written)
    model.delete()
    assert link not in page_of(admin_client, written)


@pytest.mark.parametrize(("kind", "target_id"), [("server", "no number"), ("?", "1")])
def test_an_entry_of_what_nobody_knows_leads_nowhere(kind: str, target_id: str) -> None:
    assert row_of(kind, target_id) is None


def test_what_people_change_has_a_word() -> None:
    words = {
        "model",
        "profile",
        "server",
        "scan root",
        "sampling preset",
        "key",
        "user",
        "group",
    }
    assert words <= set(kinds())


# -- who may


def test_nobody_changes_an_entry(admin_client: Client) -> None:
    written = entry(after={"a": 1})
    name = "admin:models_app_auditentry"

    for page in (f"{name}_change", f"{name}_delete"):
        answer = admin_client.post(
            reverse(page, args=[written.pk]), {"who": "eve", "post": "yes"}
        )
        assert answer.status_code == 403
    assert admin_client.get(reverse(f"{name}_add")).status_code == 403
    admin_client.post(
        LIST, {"action": "delete_selected", "_selected_action": [written.pk], "post": "yes"}
    )
    assert AuditEntry.objects.get(pk=written.pk).who == "ada"
    assert not Permission.objects.filter(
        content_type__model="auditentry", codename__regex="^(add|change|delete)_"
    ).exists()


def test_whoever_may_not_see_the_audit_sees_no_history(make_model: MakeModel) -> None:
    model = make_model()
    history = reverse("admin:models_app_discoveredmodel_history", args=[model.pk])

    assert client_of("view_discoveredmodel").get(history).status_code == 403


def test_whoever_may_see_the_audit_sees_the_history_of_what_they_see(
    make_model: MakeModel,
) -> None:
    history = reverse("admin:models_app_discoveredmodel_history", args=[make_model().pk])
    user_history = reverse("admin:auth_user_history", args=[1])
    client = client_of("view_discoveredmodel", "view_auditentry")

    assert client.get(history, follow=True).status_code == 200
    assert client.get(user_history).status_code in (403, 404)
