"""Keys: made, found by their secrets, used, revoked; and what is never kept of them."""

import hashlib
import json
import logging
import re
from datetime import timedelta

import pytest
from django.core import serializers
from django.db import IntegrityError, transaction
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from models_app import events
from models_app.audit_models import Action, AuditEntry
from servers_app import apikeys
from servers_app.apikey_models import MAX_RATE, ApiKey, Scope
from servers_app.errors import ApiKeyInvalidError, ApiKeyNotFoundError
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db


def test_a_secret_is_256_random_bits_behind_our_name() -> None:
    secrets = {apikeys.new_key(f"key {number}").secret for number in range(20)}

    assert len(secrets) == 20
    assert all(re.fullmatch(r"magi_[0-9a-f]{64}", secret) for secret in secrets)


def test_nothing_that_is_kept_leads_back_to_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        key, secret = apikeys.new_key("ci", who="ada")
        apikeys.revoke(key, who="ada")

    kept = serializers.serialize("json", [*ApiKey.objects.all(), *AuditEntry.objects.all()])
    assert hashlib.sha256(secret.encode()).hexdigest() in kept
    for text in (kept, caplog.text):
        assert secret not in text
        assert secret.removeprefix(key.prefix) not in text
    assert (key.prefix, len(key.prefix)) == (secret[:13], 13)


def test_a_key_is_found_by_its_secret_until_it_is_revoked() -> None:
    key, secret = apikeys.new_key("ci")
    _, other = apikeys.new_key("other")

    assert apikeys.find(secret) == key
    assert apikeys.find(secret[:-1]) is None
    assert apikeys.find(secret.upper()) is None
    assert apikeys.find("magi_ÿ\0") is None

    apikeys.revoke(key)

    assert apikeys.find(secret) is None
    assert apikeys.find(other) is not None


def test_a_key_is_for_inference_unless_somebody_says_else() -> None:
    assert apikeys.new_key("plain").key.scopes == {Scope.INFER}


def test_who_may_manage_may_read() -> None:
    key = apikeys.new_key("ops", scopes=[Scope.MANAGE]).key

    assert key.scopes == {Scope.MANAGE, Scope.READ}


def test_two_keys_in_use_have_two_names_and_a_revoked_one_gives_its_name_back() -> None:
    first = apikeys.new_key("ci").key

    with pytest.raises(ApiKeyInvalidError, match=r"Revoke it first, or take another name"):
        apikeys.new_key(" ci ")
    apikeys.revoke(first)

    assert apikeys.new_key("ci").key.prefix != first.prefix


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="none"),
        pytest.param("magi_0123456789abcdef", id="a key"),
        pytest.param("two\nlines", id="two lines"),
        pytest.param("\x1b[31mred", id="an escape"),
        pytest.param("nul\0", id="NUL"),
        pytest.param("-rf", id="a flag"),
        pytest.param("x" * 65, id="too long"),
    ],
)
def test_a_name_that_would_confuse_a_reader_is_refused(name: str) -> None:
    with pytest.raises(ApiKeyInvalidError, match="name: "):
        apikeys.new_key(name)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        pytest.param({"scopes": []}, "without a scope", id="for nothing"),
        pytest.param({"rate_limit_per_minute": 0}, "rate_limit_per_minute: ", id="never"),
        pytest.param({"rate_limit_per_minute": MAX_RATE + 1}, "rate_limit", id="too often"),
        pytest.param({"model_ids": ["gpt-9"]}, "gpt-9", id="a model that is not here"),
        pytest.param({"model_ids": ["nul\0"]}, "models: ", id="what no model can be called"),
        pytest.param({"model_ids": ["x" * 300]}, "models: ", id="what no column holds"),
        pytest.param({"model_ids": ["a"] * 1001}, "1000", id="too many models"),
    ],
)
def test_a_key_that_could_not_work_is_refused(
    make_model: MakeModel, fields: dict[str, object], told: str
) -> None:
    make_model("a")

    with pytest.raises(ApiKeyInvalidError, match=told):
        apikeys.new_key("ci", **fields)  # type: ignore[arg-type]  # that is what is tried

    assert not ApiKey.objects.exists()
    assert not AuditEntry.objects.exists()


def test_a_key_that_has_expired_before_it_is_made_is_refused() -> None:
    past = timezone.now() - timedelta(seconds=1)

    with pytest.raises(ApiKeyInvalidError, match=r"has passed\. Give a later time"):
        apikeys.new_key("ci", expires_at=past)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"may_infer": False}, id="for nothing"),
        pytest.param({"rate_limit_per_minute": 0}, id="never"),
        pytest.param({"name": ""}, id="without a name"),
        pytest.param({"name": "taken"}, id="with another's name"),
        pytest.param({"expires_at": timezone.now() - timedelta(days=1)}, id="expired"),
    ],
)
def test_what_must_hold_the_database_holds(fields: dict[str, object]) -> None:
    apikeys.new_key("taken")
    values = {"name": "ci", "prefix": "magi_00000000", "hash": "0", **fields}

    with pytest.raises(IntegrityError), transaction.atomic():
        ApiKey.objects.create(**values)


def test_a_key_is_revoked_once_by_its_name_or_its_prefix() -> None:
    key = apikeys.new_key("ci").key
    assert apikeys.named("ci") == apikeys.named(key.prefix) == key

    apikeys.revoke(key)

    with pytest.raises(ApiKeyNotFoundError, match="already"):
        apikeys.revoke(key)
    with pytest.raises(ApiKeyNotFoundError, match="In use: none"):
        apikeys.named("ci")


def test_a_whole_key_that_is_given_for_a_name_is_not_repeated() -> None:
    _, secret = apikeys.new_key("ci")

    with pytest.raises(ApiKeyNotFoundError) as caught:
        apikeys.named(secret)

    assert secret not in str(caught.value)
    assert "In use: ci" in str(caught.value)


def test_the_gateways_are_told_at_once_and_nothing_of_the_key(
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    told: list[tuple[str, object]] = []
    monkeypatch.setattr(apikeys, "publish", lambda kind, data: told.append((kind, data)))

    with django_capture_on_commit_callbacks(execute=True):
        key = apikeys.new_key("ci").key
    with django_capture_on_commit_callbacks(execute=True):
        apikeys.revoke(key)

    assert told == [(events.KEY, {}), (events.KEY, {})]
    assert events.KEY not in events.KINDS


def test_the_audit_says_who_made_and_who_revoked_a_key(make_model: MakeModel) -> None:
    make_model("a")
    key = apikeys.new_key("ci", model_ids=["a"], rate_limit_per_minute=60, who="ada").key
    apikeys.revoke(key, who="bob")

    revoked, made = AuditEntry.objects.all()
    assert (made.action, made.who, made.target_name) == (Action.CREATE, "ada", "ci")
    assert made.after is not None
    assert made.after["models"] == ["a"]
    assert made.after["rate_limit_per_minute"] == 60
    assert "hash" not in json.dumps(made.after)
    assert (revoked.action, revoked.who, revoked.target_id) == (
        Action.REVOKE,
        "bob",
        key.prefix,
    )


def test_when_a_key_was_used_is_written_once_a_minute() -> None:
    key = apikeys.new_key("ci").key
    apikeys.note_use(key)
    key.refresh_from_db()
    first = key.last_used_at
    assert first is not None

    apikeys.note_use(key)
    key.refresh_from_db()
    assert key.last_used_at == first

    ApiKey.objects.update(last_used_at=first - timedelta(minutes=2))
    key.refresh_from_db()
    apikeys.note_use(key)
    key.refresh_from_db()
    assert key.last_used_at is not None
    assert key.last_used_at >= first


def test_a_batch_of_uses_never_takes_a_later_one_back() -> None:
    key = apikeys.new_key("ci").key
    now = timezone.now()

    apikeys.note_used({key.prefix: now.timestamp(), "magi_gone": now.timestamp()})
    apikeys.note_used({key.prefix: now.timestamp() - 60})

    key.refresh_from_db()
    assert key.last_used_at == now
