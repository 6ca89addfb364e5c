"""From page to page of the admin, as a browser that follows each link."""

from collections.abc import Iterator
from urllib.parse import urldefrag, urlsplit

from django.contrib import admin
from django.urls import reverse
from playwright.sync_api import Page

from tests.e2e.magi import Magi

MAX_OF_A_KIND = 3  # pages that differ in their numbers alone


def kind_of(path: str) -> str:
    return "/".join("N" if part.isdecimal() else part for part in path.split("/"))


def links_of(page: Page, magi: Magi) -> list[str]:
    """Return the pages of the admin that a page links to."""
    hrefs: list[str] = page.eval_on_selector_all(
        "a[href]:not([download])", "links => links.map(link => link.href)"
    )
    return [
        urldefrag(href).url
        for href in hrefs
        if href.startswith(f"{magi.base_url}/admin/") and "/logout/" not in href
    ]


def pages_of_the_admin(
    page: Page, magi: Magi, *, of_a_kind: int = MAX_OF_A_KIND
) -> Iterator[str]:
    """Go to the admin's pages, some of each kind; yield the kind of that which is shown."""
    names = [
        f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}"
        for model in admin.site._registry
        for name in ("changelist", "add")
    ]
    index = f"{magi.base_url}{reverse('admin:index')}"
    to_see = [index, *(magi.base_url + reverse(name) for name in names)]
    seen: dict[str, set[str]] = {}
    while to_see:
        url = to_see.pop(0)
        path = urlsplit(url).path
        of_this_kind = seen.setdefault(kind_of(path), set())
        if path in of_this_kind or len(of_this_kind) == of_a_kind:
            continue
        of_this_kind.add(path)
        answer = page.goto(url)
        assert answer is not None
        if answer.status == 403 and path.endswith("/add/"):
            continue  # nobody adds such rows
        assert answer.status == 200, url
        yield kind_of(path)
        to_see += links_of(page, magi)
