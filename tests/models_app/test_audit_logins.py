"""Signing in and out, passwords and accounts: who, from where, and never the password."""

from pathlib import Path

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from magi_site.first_admin import ensure_admin
from models_app import logins
from models_app.audit_models import AuditEntry

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
LOGIN = reverse("admin:login")


@pytest.fixture
def ada() -> User:
    return User.objects.create_superuser("ada", password=PASSWORD)


def told() -> list[tuple[str, str, str, str]]:
    """Return who did what to whom by which door, the oldest first, and start anew."""
    entries = list(AuditEntry.objects.order_by("pk"))
    AuditEntry.objects.all().delete()
    return [(entry.who, entry.action, entry.target_name, entry.via) for entry in entries]


def sign_in(client: Client, name: str, password: str) -> int:
    return client.post(LOGIN, {"username": name, "password": password}).status_code


@pytest.mark.usefixtures("ada")
def test_signing_in_and_out_is_told_with_where_from(client: Client) -> None:
    assert sign_in(client, "ada", PASSWORD) == 302
    assert AuditEntry.objects.get().after == {"address": "127.0.0.1"}
    client.post(reverse("admin:logout"))

    assert told() == [("ada", "login", "ada", "admin"), ("ada", "logout", "ada", "admin")]


@pytest.mark.usefixtures("ada")
def test_a_failed_sign_in_is_told(client: Client) -> None:
    sign_in(client, "ada", "wrong")

    assert told() == [("nobody", "login-failed", "ada", "admin")]


def test_a_name_that_nobody_has_is_not_kept_as_it_may_be_a_password(client: Client) -> None:
    sign_in(client, PASSWORD, "ada")

    entry = AuditEntry.objects.get()
    assert entry.called == "no such user"
    assert PASSWORD not in str(vars(entry))


def test_whoever_tries_passwords_by_the_thousand_does_not_fill_the_disk(
    client: Client,
) -> None:
    for number in range(logins.MAX_FAILURES_A_MINUTE + 5):
        sign_in(client, f"user-{number}", "wrong")

    assert AuditEntry.objects.count() == logins.MAX_FAILURES_A_MINUTE


def test_an_account_that_the_admin_makes_changes_and_deletes_is_told(
    client: Client, ada: User
) -> None:
    client.force_login(ada)
    told()
    new = {"username": "bob", "password1": PASSWORD, "password2": PASSWORD}
    client.post(reverse("admin:auth_user_add"), {**new, "usable_password": "true"})
    bob = User.objects.get(username="bob")
    operators = Group.objects.create(name="night shift")
    page = reverse("admin:auth_user_change", args=[bob.pk])
    shown = client.get(page).context["adminform"].form.initial
    client.post(
        page, {"username": shown["username"], "is_staff": "on", "groups": [operators.pk]}
    )
    changed = AuditEntry.objects.latest("pk")
    client.post(reverse("admin:auth_user_delete", args=[bob.pk]), {"post": "yes"})

    assert changed.before is not None
    assert changed.before["groups"] == []
    assert changed.after is not None
    assert changed.after["groups"] == ["night shift"]
    assert changed.after["is_staff"] is True
    assert PASSWORD not in str([vars(entry) for entry in AuditEntry.objects.all()])
    assert told() == [
        ("ada", "password", "bob", "admin"),
        ("ada", "create", "bob", "admin"),
        ("ada", "update", "bob", "admin"),
        ("ada", "delete", "bob", "admin"),
    ]


def test_a_deleted_accounts_entry_has_no_hash(client: Client, ada: User) -> None:
    bob = User.objects.create_user("bob", password=PASSWORD)
    client.force_login(ada)
    client.post(
        reverse("admin:auth_user_changelist"),
        {"action": "delete_selected", "_selected_action": [bob.pk], "post": "yes"},
    )

    entry = AuditEntry.objects.get(action="delete")
    assert entry.before is not None
    assert entry.before["username"] == "bob"
    assert entry.before["password"] == "(secret)"


def test_a_password_set_by_an_administrator_or_by_its_owner_is_told(
    client: Client, ada: User
) -> None:
    bob = User.objects.create_user("bob", password=PASSWORD)
    client.force_login(ada)
    told()
    new = {"password1": "another good one", "password2": "another good one"}
    page = reverse("admin:auth_user_password_change", args=[bob.pk])
    client.post(page, {**new, "usable_password": "true"})
    own = {
        "old_password": PASSWORD,
        "new_password1": "a third one!",
        "new_password2": "a third one!",
    }
    client.post(reverse("admin:password_change"), own)

    assert told() == [("ada", "password", "bob", "admin"), ("ada", "password", "ada", "admin")]


def test_an_account_made_by_a_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)

    call_command("createsuperuser", "--noinput", "--username", "grace", "--email", "g@x.org")

    assert told() == [("root", "create", "grace", "command")]


def test_a_password_changed_by_a_command_is_told(
    ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    monkeypatch.setattr("getpass.getpass", lambda **_prompt: "another good one")

    call_command("changepassword", ada.username)

    assert told() == [("root", "password", "ada", "command")]


def test_the_first_admin_account_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "root")

    ensure_admin(tmp_path)

    assert told() == [("root", "create", "admin", "command")]
