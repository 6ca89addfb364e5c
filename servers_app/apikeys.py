"""API keys: made, found, revoked. Whoever has a secret shows it once, and keeps it nowhere."""

import hashlib
import logging
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import DatabaseError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from models_app import audit
from models_app.audit_models import Action
from models_app.events import KEY, publish
from models_app.lookup import unknown
from models_app.models import DiscoveredModel
from servers_app.apikey_models import KEY_START, PREFIX_CHARS, SECRET_HEX_DIGITS, ApiKey, Scope
from servers_app.errors import ApiKeyInvalidError, ApiKeyNotFoundError

logger = logging.getLogger(__name__)

NOTE_INTERVAL: Final = timedelta(minutes=1)  # when a key was last used is known to this
MAX_MODEL_IDS: Final = 1000
MAX_WHO_CHARS: Final = 150


class NewKey(NamedTuple):
    key: ApiKey
    secret: str  # to be shown once


def new_key(
    name: str,
    *,
    scopes: Collection[Scope] = (Scope.INFER,),
    model_ids: Sequence[str] = (),
    expires_at: datetime | None = None,
    rate_limit_per_minute: int | None = None,
    who: str = "",
) -> NewKey:
    """Make a key. Raises: as `issue`."""
    key = ApiKey(
        name=name.strip(),
        may_read=Scope.READ in scopes,
        may_infer=Scope.INFER in scopes,
        may_manage=Scope.MANAGE in scopes,
        model_ids=list(model_ids),
        expires_at=expires_at,
        rate_limit_per_minute=rate_limit_per_minute,
    )
    return NewKey(key, issue(key, who=who))


@transaction.atomic
def issue(key: ApiKey, *, who: str = "") -> str:
    """Give a key that is filled in its secret, save it, and return the secret.

    Every gateway process knows it within a second, and with Redis at once.

    Raises:
        ApiKeyInvalidError: there is one of that name, or something in it cannot be so.
    """
    secret = KEY_START + secrets.token_hex(SECRET_HEX_DIGITS // 2)
    key.prefix = secret[:PREFIX_CHARS]
    key.hash = hash_of(secret)
    key.created_by = who[:MAX_WHO_CHARS]
    check(key)
    key.save(force_insert=True)
    audit.record(Action.CREATE, key, after=values_of(key), who=who)
    transaction.on_commit(partial(publish, KEY, {}))
    return secret


def check(key: ApiKey) -> None:
    """Make sure that a key may be made as it is filled in.

    Raises:
        ApiKeyInvalidError: it may not; the message says what is accepted.
    """
    if key.expires_at is not None and key.has_expired():
        moment = timezone.localtime(key.expires_at)
        msg = f"expires_at: {moment:%Y-%m-%d %H:%M} has passed. Give a later time."
        raise ApiKeyInvalidError(msg)
    try:
        key.full_clean(exclude=["prefix", "hash"])
    except ValidationError as error:
        raise ApiKeyInvalidError(_sentence(error)) from error
    _check_model_ids(key.model_ids)


@transaction.atomic
def revoke(key: ApiKey, *, who: str = "") -> None:
    """Take a key back, for good. Every gateway process refuses it within a second.

    Raises:
        ApiKeyNotFoundError: it has been revoked already.
    """
    now = timezone.now()
    if not ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=now):
        msg = f"The key {key.name} has been revoked already."
        raise ApiKeyNotFoundError(msg)
    key.revoked_at = now
    audit.record(
        Action.REVOKE, key, before={"revoked_at": None}, after={"revoked_at": now}, who=who
    )
    transaction.on_commit(partial(publish, KEY, {}))


def values_of(key: ApiKey) -> dict[str, Any]:
    """Return what may be told of a key; its hash is not among it."""
    return {
        "name": key.name,
        "prefix": key.prefix,
        "scopes": sorted(scope.value for scope in key.scopes),
        "models": key.model_ids,
        "expires_at": key.expires_at,
        "rate_limit_per_minute": key.rate_limit_per_minute,
    }


def usable() -> QuerySet[ApiKey]:
    """Return the keys that are not revoked; those that have expired are among them."""
    return ApiKey.objects.filter(revoked_at=None)


def named(name: str) -> ApiKey:
    """Return the key of a name or a prefix that is not revoked.

    Raises:
        ApiKeyNotFoundError: there is none; the message says which there are.
    """
    key = usable().filter(Q(name=name) | Q(prefix=name)).first()
    if key is not None:
        return key
    names = ", ".join(usable().values_list("name", flat=True))
    # Whoever types a whole key here by mistake does not find it in a log.
    told = name[:PREFIX_CHARS] if name.startswith(KEY_START) else name
    msg = f"No key in use has the name or prefix {told}. In use: {names or 'none'}."
    raise ApiKeyNotFoundError(msg)


def find(secret: str) -> ApiKey | None:
    """Return the key of a secret, if it is not revoked; it may have expired.

    What is compared is the hash of what a caller sent: how long that takes tells nothing
    of a hash that is in the database, as nobody can choose what a hash begins with.
    """
    return usable().filter(hash=hash_of(secret)).first()


def hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def note_use(key: ApiKey) -> None:
    """Write down that a key is used now, unless that was done within a minute.

    Raises nothing: a call does not fail because a database is busy.
    """
    now = timezone.now()
    noted_before = now - NOTE_INTERVAL
    if key.last_used_at is not None and key.last_used_at > noted_before:
        return
    is_due = Q(last_used_at=None) | Q(last_used_at__lte=noted_before)
    try:
        with transaction.atomic():
            ApiKey.objects.filter(is_due, pk=key.pk).update(last_used_at=now)
    except DatabaseError as error:
        logger.warning("When the key %s was used could not be written down: %s", key, error)


def note_used(used: Mapping[str, float]) -> None:
    """Write down when keys were last used: by prefix, in unix seconds."""
    with transaction.atomic():
        for prefix, at_s in sorted(used.items()):
            at = datetime.fromtimestamp(at_s, UTC)
            ApiKey.objects.filter(
                Q(last_used_at=None) | Q(last_used_at__lt=at), prefix=prefix
            ).update(last_used_at=at)


def _check_model_ids(model_ids: object) -> None:
    """Make sure that a key's models are a list of ids that are known here.

    Raises:
        ApiKeyInvalidError: they are not; the message says what there is.
    """
    if not isinstance(model_ids, list) or not all(isinstance(one, str) for one in model_ids):
        msg = "models: it is a list of model ids."
        raise ApiKeyInvalidError(msg)
    if len(model_ids) > MAX_MODEL_IDS:
        msg = f"models: a key has {MAX_MODEL_IDS} at most. Leave them out for all models."
        raise ApiKeyInvalidError(msg)
    asked = [one for one in model_ids if "\0" not in one]  # which PostgreSQL takes in no text
    known = set(
        DiscoveredModel.objects.filter(model_id__in=asked).values_list("model_id", flat=True)
    )
    for model_id in model_ids:
        if model_id not in known:
            msg = f"models: {unknown(model_id)}"
            raise ApiKeyInvalidError(msg)


def _sentence(error: ValidationError) -> str:
    return " ".join(_sentences(error.message_dict.items()))


def _sentences(by_field: Iterable[tuple[str, list[str]]]) -> Iterable[str]:
    for name, messages in by_field:
        for message in messages:
            yield message if name == NON_FIELD_ERRORS else f"{name}: {message}"
