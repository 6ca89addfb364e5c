"""`manage.py apikey`: what it makes, shows and takes back, and what it says when it cannot."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from models_app.audit_models import AuditEntry, Via
from servers_app import apikeys
from servers_app.apikey_models import ApiKey, Scope
from servers_app.expiry import parse_expiry
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db

Say = Callable[..., tuple[str, str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Say:
    """Return a function that runs the command and returns both of its outputs."""

    def run(*arguments: str) -> tuple[str, str]:
        capsys.readouterr()
        call_command("apikey", *arguments)
        return capsys.readouterr()

    return run


def test_a_new_key_is_all_that_goes_to_the_output(said: Say) -> None:
    out, told = said("new", "ci")

    key = ApiKey.objects.get()
    assert apikeys.find(out.strip()) == key
    assert key.scopes == {Scope.INFER}
    assert "Made the key ci (infer; all models; no rate limit; does not expire)" in told
    assert out.strip() not in told


def test_a_key_has_what_it_was_asked_for(said: Say, make_model: MakeModel) -> None:
    for name in ("a", "b"):
        make_model(name)

    said(
        *("new", "ops", "--scope", "read", "--scope", "infer", "--model", "a", "--model", "b"),
        *("--expires", "30d", "--rate", "60"),
    )

    key = ApiKey.objects.get()
    assert key.scopes == {Scope.READ, Scope.INFER}
    assert key.model_ids == ["a", "b"]
    assert key.rate_limit_per_minute == 60
    assert key.expires_at is not None
    assert timedelta(days=29) < key.expires_at - timezone.now() <= timedelta(days=30)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["--scope", "root"], "read", id="a scope that is none"),
        pytest.param(["--rate", "0"], "a whole number from 1", id="a rate of nothing"),
        pytest.param(["--rate", "many"], "a whole number from 1", id="a rate in words"),
        pytest.param(["--expires", "soon"], "30d", id="a time that is none"),
        pytest.param(["--expires", "2030-02-30"], "30d", id="a day that there is not"),
        pytest.param(["--expires", "999999w"], "30d", id="beyond the calendar"),
        pytest.param(["--expires", "2020-01-01"], "has passed", id="a day that has passed"),
        pytest.param(["--model", "gpt-9"], "Available: a", id="a model that is not here"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(
    said: Say, make_model: MakeModel, arguments: list[str], told: str
) -> None:
    make_model("a")

    with pytest.raises(CommandError, match=told):
        said("new", "ci", *arguments)

    assert not ApiKey.objects.exists()


def test_keys_are_listed_with_all_but_their_secrets(said: Say) -> None:
    first = apikeys.new_key("ci", scopes=[Scope.MANAGE], rate_limit_per_minute=60).key
    gone = apikeys.new_key("gone").key
    apikeys.revoke(gone)

    table, _ = said("list")
    rows = json.loads(said("list", "--json", "--all")[0])

    assert first.prefix in table
    assert "read, manage" in table
    assert "gone" not in table
    assert [row["name"] for row in rows] == ["ci", "gone"]
    assert rows[0]["scopes"] == ["read", "manage"]
    assert rows[0]["expires_at"] is None
    assert rows[1]["revoked_at"] is not None
    assert first.hash not in table + json.dumps(rows)


def test_without_keys_the_list_says_how_to_make_one(said: Say) -> None:
    assert "apikey new NAME" in said("list")[0]
    assert json.loads(said("list", "--json")[0]) == []


@pytest.mark.parametrize("by_prefix", [True, False])
def test_a_key_is_revoked_by_its_name_or_prefix(said: Say, by_prefix: bool) -> None:
    key = apikeys.new_key("ci").key

    out, _ = said("revoke", key.prefix if by_prefix else "ci")

    assert out == f"Revoked the key ci ({key.prefix}).\n"
    assert not apikeys.usable().exists()


def test_a_key_that_is_not_there_is_answered_with_those_that_are(said: Say) -> None:
    apikeys.new_key("ci")

    with pytest.raises(CommandError, match=r"has the name or prefix cd\. In use: ci\."):
        said("revoke", "cd")


def test_the_audit_says_that_it_was_done_at_a_terminal(said: Say) -> None:
    said("new", "ci")
    said("revoke", "ci")

    assert {entry.via for entry in AuditEntry.objects.all()} == {Via.COMMAND}
    assert all(entry.who for entry in AuditEntry.objects.all())


def test_a_day_counts_to_its_end_where_magi_is(settings: Settings) -> None:
    settings.TIME_ZONE = "Europe/Madrid"

    with timezone.override("Europe/Madrid"):
        until = parse_expiry("2030-12-31")
        at = parse_expiry("2030-12-31T18:00")
        elsewhere = parse_expiry("2030-12-31T18:00+00:00")

    assert until.isoformat() == "2031-01-01T00:00:00+01:00"
    assert at.isoformat() == "2030-12-31T18:00:00+01:00"
    assert elsewhere - at == timedelta(hours=1)
