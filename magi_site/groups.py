"""The groups of people that ship: `viewer` sees, `operator` runs things, `admin` does all.

What is secret, or gives rights to others, is for `admin` alone: keys, accounts, what a scan
may look into. A group of these names is made what stands here at each start; for other
rights, make another group.
"""

from functools import cache
from typing import Final

from django.apps import apps
from django.contrib.auth import get_permission_codename
from django.contrib.auth.models import Group, Permission
from django.db import transaction

VIEWER: Final = "viewer"
OPERATOR: Final = "operator"
ADMIN: Final = "admin"

_OURS: Final = ("models_app", "profiles_app", "servers_app")
_SECRET: Final = frozenset({"servers_app.view_apikey"})
_OPERATED: Final = frozenset(
    {
        "models_app.add_download",
        "models_app.add_scan",  # rescan
        "models_app.change_download",  # cancel
        "models_app.change_discoveredmodel",  # overrides, notes
        "profiles_app.add_modelpreset",
        "profiles_app.add_modelrunsettings",
        "profiles_app.add_profile",
        "profiles_app.add_profilemember",
        "profiles_app.add_samplingpreset",
        "profiles_app.add_tierrule",
        "profiles_app.change_baserunsettings",
        "profiles_app.change_modelpreset",
        "profiles_app.change_modelrunsettings",
        "profiles_app.change_profile",
        "profiles_app.change_profilemember",
        "profiles_app.change_samplingpreset",
        "profiles_app.change_tierrule",
        "profiles_app.delete_modelpreset",
        "profiles_app.delete_modelrunsettings",
        "profiles_app.delete_profile",
        "profiles_app.delete_profilemember",
        "profiles_app.delete_samplingpreset",
        "profiles_app.delete_tierrule",
        "servers_app.add_benchmark",
        "servers_app.add_comparison",
        "servers_app.add_vote",
        "servers_app.change_benchmark",  # cancel
        "servers_app.change_comparison",  # cancel
        "servers_app.change_requestrecord",  # labels
        "servers_app.change_server",  # start, stop, restart
        "servers_app.infer",
    }
)


@transaction.atomic
def ensure_groups() -> None:
    """Make the groups, and what they may do, what stands here. After `migrate`."""
    rows = Permission.objects.select_related("content_type")
    by_name = {f"{row.content_type.app_label}.{row.codename}": row for row in rows}
    for name in (VIEWER, OPERATOR, ADMIN):
        group, _ = Group.objects.get_or_create(name=name)
        group.permissions.set(by_name[wanted] for wanted in sorted(permissions_of(name)))


@cache
def permissions_of(group: str) -> frozenset[str]:
    """Return the permissions of a group that ships, as `app.codename`."""
    ours = _permissions(_OURS)
    if group == ADMIN:
        return ours | _permissions(("auth",))
    seen = {name for name in ours if name.partition(".")[2].startswith("view_")} - _SECRET
    return frozenset(seen | _OPERATED if group == OPERATOR else seen)


def _permissions(app_labels: tuple[str, ...]) -> frozenset[str]:
    """Return every permission that Django makes for the models of some apps."""
    return frozenset(
        f"{label}.{codename}"
        for label in app_labels
        for model in apps.get_app_config(label).get_models()
        for codename in (
            *(
                get_permission_codename(do, model._meta)
                for do in model._meta.default_permissions
            ),
            *(codename for codename, _ in model._meta.permissions),
        )
    )
