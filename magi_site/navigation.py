"""The sections of the admin and their pages: what stands at the top of each page.

A page is shown to those who may open it, and a section to those who may open one of its pages.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django.contrib.auth.models import AnonymousUser, User
from django.urls import reverse


@dataclass(frozen=True, slots=True)
class Link:
    label: str
    name: str  # of a URL of the admin, without its namespace
    permission: str = ""  # empty: whoever may sign in


@dataclass(frozen=True, slots=True)
class Section:
    label: str
    pages: tuple[Link, ...]  # the first that one may open is the section's own


@dataclass(frozen=True, slots=True)
class ShownLink:
    label: str
    url: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class Navigation:
    sections: list[ShownLink]
    pages: list[ShownLink]  # of the section that one is in; none, if it has only one


def _rows(label: str, app: str, model: str) -> Link:
    """Return the link to a list of rows."""
    return Link(label, f"{app}_{model}_changelist", f"{app}.view_{model}")


SECTIONS: Final = (
    Section("Dashboard", (Link("Dashboard", "index"),)),
    Section(
        "Models",
        (
            _rows("Models", "models_app", "discoveredmodel"),
            _rows("Benchmarks", "servers_app", "benchmark"),
            _rows("Comparisons", "servers_app", "comparison"),
            Link("Recommendations", "recommendations", "models_app.view_discoveredmodel"),
            Link("Get models", "get_models", "models_app.view_download"),
            _rows("Downloads", "models_app", "download"),
            _rows("Scans", "models_app", "scan"),
            _rows("Scan roots", "models_app", "scanroot"),
            _rows("Rules", "models_app", "discoveryrules"),
        ),
    ),
    Section(
        "Profiles",
        (
            _rows("Profiles", "profiles_app", "profile"),
            _rows("Versions", "profiles_app", "profileversion"),
            _rows("Base settings", "profiles_app", "baserunsettings"),
            _rows("Settings of models", "profiles_app", "modelrunsettings"),
            _rows("Sampling presets", "profiles_app", "samplingpreset"),
            _rows("Presets of models", "profiles_app", "modelpreset"),
        ),
    ),
    Section(
        "Servers",
        (
            _rows("Servers", "servers_app", "server"),
            _rows("Events", "servers_app", "serverevent"),
            _rows("Engines", "servers_app", "enginebuild"),
        ),
    ),
    Section("Playground", (Link("Playground", "playground", "servers_app.infer"),)),
    Section(
        "Activity",
        (
            _rows("Requests", "servers_app", "requestrecord"),
            _rows("Usage", "servers_app", "usageminute"),
        ),
    ),
    Section(
        "System",
        (
            Link("Health", "system", "servers_app.view_server"),
            Link("Settings", "settings", "servers_app.view_server"),
            Link("Endpoint tests", "endpoints", "servers_app.view_server"),
            _rows("Nodes", "servers_app", "node"),
            _rows("API keys", "servers_app", "apikey"),
            _rows("Audit", "models_app", "auditentry"),
            _rows("Users", "auth", "user"),
            _rows("Groups", "auth", "group"),
        ),
    ),
)


def navigation_of(user: User | AnonymousUser, path: str) -> Navigation:
    """Return the sections that `user` may open, and the pages of the one that `path` is in."""
    allowed = [
        (section, pages) for section in SECTIONS if (pages := list(_allowed(section, user)))
    ]
    current = _current([url for _, pages in allowed for _, url in pages], path)
    shown: list[ShownLink] = []
    within: list[ShownLink] = []
    for section, pages in allowed:
        links = [ShownLink(link.label, url, url == current) for link, url in pages]
        is_current = any(link.is_current for link in links)
        shown.append(ShownLink(section.label, links[0].url, is_current))
        if is_current and len(links) > 1:
            within = links
    return Navigation(shown, within)


def _allowed(section: Section, user: User | AnonymousUser) -> Iterator[tuple[Link, str]]:
    for link in section.pages:
        if not link.permission or user.has_perm(link.permission):
            yield link, reverse(f"admin:{link.name}")


def _current(urls: list[str], path: str) -> str | None:
    """Return the URL that `path` is or is below; the index alone has no pages below it."""
    index = reverse("admin:index")
    found = [url for url in urls if path == url or (url != index and path.startswith(url))]
    return max(found, key=len, default=None)
