"""The first admin account, on the first start."""

import os
import secrets
from pathlib import Path

from django.contrib.auth import get_user_model
from django.db import transaction

from models_app import audit
from models_app.audit_models import Action

USERNAME = "admin"


def ensure_admin(data_dir: Path) -> str | None:
    """Create the account `admin` if there is no superuser yet.

    Its password is generated and kept in `data_dir/admin_password`, mode 0600.

    Returns:
        The password if the account was created, so that it is shown once.
    """
    users = get_user_model().objects
    if users.filter(is_superuser=True).exists():
        return None
    path = data_dir / "admin_password"
    password = _kept(path) or secrets.token_urlsafe(12)
    # The file first: dying in between leaves no account that nobody can open.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(password + "\n")
    with transaction.atomic():
        user = users.create_superuser(USERNAME, password=password)
        after = {"username": USERNAME, "is_staff": True, "is_superuser": True}
        audit.record(Action.CREATE, user, after=after)
    return password


def _kept(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
