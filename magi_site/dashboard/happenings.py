"""What happened last: to servers, to the registry, to the profiles."""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Final, NamedTuple

from django.contrib.auth.models import AnonymousUser, User
from django.urls import reverse

from magi_site.dashboard.scans import words_of
from models_app.audit_models import Action, AuditEntry
from models_app.models import Scan
from servers_app.figures import span, title_of, what_happened
from servers_app.following import without_key
from servers_app.models import ServerEvent

SHOWN: Final = 12


class Happening(NamedTuple):
    at: datetime
    subject: str
    url: str
    text: str
    who: str


def happenings(user: User | AnonymousUser) -> list[Happening]:
    """Return the newest of what `user` may see, with a query for each kind of it."""
    found: list[Happening] = []
    if user.has_perm("servers_app.view_serverevent"):
        found += _of_servers()
    if user.has_perm("models_app.view_scan"):
        found += _of_scans()
    if user.has_perm("models_app.view_auditentry"):
        found += _of_profiles()
    found.sort(key=lambda happening: happening.at, reverse=True)
    return list(islice(found, SHOWN))


def _of_servers() -> Iterator[Happening]:
    events = ServerEvent.objects.select_related("server__model").only(
        "at", "kind", "who", "why", "from_state", "to_state", "seconds",
        "server__replica", "server__model__display_name",
    )  # fmt: skip
    for event in events[:SHOWN]:
        server = event.server
        what = what_happened(event) if event.to_state else event.why.partition("\n")[0]
        after = f" after {span(event.seconds)}" if event.seconds is not None else ""
        yield Happening(
            event.at,
            title_of(server),
            reverse("admin:servers_app_server_change", args=[server.pk]),
            without_key(f"{what}{after}", server),
            event.who,
        )


def _of_scans() -> Iterator[Happening]:
    for scan in Scan.objects.defer("report")[:SHOWN]:
        page = reverse("admin:models_app_scan_change", args=[scan.pk])
        at = scan.finished_at or scan.started_at
        yield Happening(at, f"Scan of {scan.node}", page, words_of(scan), "")


def _of_profiles() -> Iterator[Happening]:
    activations = AuditEntry.objects.filter(target_kind="profile", action=Action.ACTIVATE)
    page = reverse("admin:profiles_app_profile_changelist")
    for entry in activations.only("at", "who", "target_name", "target_id")[:SHOWN]:
        yield Happening(entry.at, f"Profile {entry.called}", page, "activated", entry.who)
