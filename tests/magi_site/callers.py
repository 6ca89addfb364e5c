"""Who may call the REST API, and every call that there is, as the URL conf has them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.views import APIView

from magi_site.groups import ADMIN, OPERATOR, VIEWER, ensure_groups
from servers_app.apikey_models import Scope
from servers_app.apikeys import new_key

PREFIXES = ("api/", "ai/")
METHODS = ("get", "post", "put", "patch", "delete")
SAFE = ("get",)
ARGUMENTS = {
    "uuid": "00000000-0000-0000-0000-000000000000", "int": "1", "str": "x", "slug": "x",
    "path": "x",
}  # fmt: skip

KEYS: dict[str, list[Scope]] = {
    "a key to read": [Scope.READ],
    "a key to infer": [Scope.INFER],
    "a key to manage": [Scope.MANAGE],
}
PEOPLE: dict[str, str | None] = {
    "staff of no group": None,
    "a viewer": VIEWER,
    "an operator": OPERATOR,
    "an admin": ADMIN,
}
EVERYBODY = ["nobody", "somebody signed in", *KEYS, *PEOPLE]


@dataclass(frozen=True)
class Call:
    """A method of a view, and where it is."""

    method: str
    path: str
    view: type[APIView]

    def __str__(self) -> str:
        return f"{self.method.upper()} /{self.path}"

    @property
    def is_safe(self) -> bool:
        return self.method in SAFE

    @property
    def scope(self) -> str:
        return getattr(self.view, "scope", None) or ("read" if self.is_safe else "manage")

    @property
    def permission(self) -> str | None:
        declared: Any = getattr(self.view, "permission", None)
        if isinstance(declared, dict):
            found: str | None = declared.get(self.method.upper())
            return found
        return None if self.is_safe else declared


def patterns() -> Iterator[tuple[str, Any]]:
    """Yield the path of each view of the API, and the view."""
    yield from _below(get_resolver().url_patterns, "")


def calls() -> list[Call]:
    return [
        Call(method, path, callback.cls)
        for path, callback in patterns()
        for method in METHODS
        if hasattr(callback.cls, method)
    ]


def client_of(who: str) -> Client:
    """Return a client that calls as one of EVERYBODY."""
    if who in KEYS:
        secret = new_key(who, scopes=KEYS[who]).secret
        return Client(headers={"authorization": f"Bearer {secret}"})
    client = Client()
    if who == "nobody":
        return client
    user = User.objects.create_user(who.replace(" ", "."), is_staff=who in PEOPLE)
    if (group := PEOPLE.get(who)) is not None:
        ensure_groups()
        user.groups.add(Group.objects.get(name=group))
    client.force_login(user)
    return client


def _below(entries: list[URLPattern | URLResolver], before: str) -> Iterator[tuple[str, Any]]:
    for entry in entries:
        path = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _below(entry.url_patterns, path)
        elif path.startswith(PREFIXES):
            for name, converter in entry.pattern.converters.items():
                kind = type(converter).__name__.removesuffix("Converter").lower()
                kind = {"string": "str"}.get(kind, kind)
                path = path.replace(f"<{kind}:{name}>", ARGUMENTS[kind])
                path = path.replace(f"<{name}>", ARGUMENTS[kind])
            yield path, entry.callback
