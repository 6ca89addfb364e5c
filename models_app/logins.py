"""Who signs in and out, and who sets a password, for the audit: as Django tells it."""

from datetime import timedelta
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.http import HttpRequest
from django.utils import timezone

from models_app import audit
from models_app.audit_models import Action, AuditEntry
from models_app.audit_targets import Target, target_of

NOBODY: Final = "nobody"
NO_SUCH_USER: Final = Target("user", "", "no such user")
# Whoever tries passwords by the thousand does not fill the disk.
MAX_FAILURES_A_MINUTE: Final = 10


class PasswordAudit:
    """Writes down that a password was set: for AUTH_PASSWORD_VALIDATORS.

    Django tells its validators of each password that was set and saved: in the admin, by its
    owner, or by `changepassword`. This one refuses none.
    """

    def validate(self, password: str, user: AbstractBaseUser | None = None) -> None:
        pass

    def get_help_text(self) -> str:
        return "That it was set is written down in the audit; the password is not."

    def password_changed(self, password: str, user: AbstractBaseUser | None = None) -> None:
        if user is not None:
            audit.record(Action.PASSWORD, user)


def listen() -> None:
    """Have Django tell of sessions."""
    user_logged_in.connect(_logged_in, dispatch_uid="audit")
    user_logged_out.connect(_logged_out, dispatch_uid="audit")
    user_login_failed.connect(_login_failed, dispatch_uid="audit")


def _logged_in(request: HttpRequest, user: AbstractBaseUser, **_more: object) -> None:
    audit.record(Action.LOGIN, user, after=_from_where(request), who=user.get_username())


def _logged_out(user: AbstractBaseUser | None, **_more: object) -> None:
    if user is not None and user.pk is not None:
        audit.record(Action.LOGOUT, user, who=user.get_username())


def _login_failed(
    credentials: dict[str, Any], request: HttpRequest | None = None, **_more: object
) -> None:
    users = get_user_model()
    name = str(credentials.get(users.USERNAME_FIELD, ""))
    # A name that nobody has is not kept: it may be a password, typed into the wrong field.
    user = users._default_manager.filter(**{users.USERNAME_FIELD: name}).first()
    target = target_of(user) if user else NO_SUCH_USER
    lately = AuditEntry.objects.filter(
        target_kind=target.kind,
        target_id=target.id,
        action=Action.LOGIN_FAILED,
        at__gte=timezone.now() - timedelta(minutes=1),
    )
    if lately.count() < MAX_FAILURES_A_MINUTE:
        audit.record(Action.LOGIN_FAILED, target, after=_from_where(request), who=NOBODY)


def _from_where(request: HttpRequest | None) -> dict[str, str]:
    return {"address": request.META.get("REMOTE_ADDR", "") if request else ""}
