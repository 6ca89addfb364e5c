"""Every page of MAGI keeps to its own Content-Security-Policy, in a real browser."""

from urllib.parse import urldefrag, urlsplit

import pytest
from django.contrib import admin
from django.urls import reverse
from playwright.sync_api import BrowserContext, ConsoleMessage, Page

from tests.browser.conftest import sign_in
from tests.e2e.magi import Magi

pytestmark = pytest.mark.e2e

DOCS = "/api/docs/"
MAX_OF_A_KIND = 3  # pages that differ in their numbers alone


class Complaints:
    """What the browser says against the pages that it shows."""

    def __init__(self, page: Page) -> None:
        self.found: list[str] = []
        self._page = page
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.found.append(f"{page.url}: {error}"))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.found.append(f"{self._page.url}: {message.text}")


def kind_of(path: str) -> str:
    return "/".join("N" if part.isdecimal() else part for part in path.split("/"))


def links_of(page: Page, magi: Magi) -> list[str]:
    """Return the pages of the admin that a page links to."""
    hrefs: list[str] = page.eval_on_selector_all(
        "a[href]", "links => links.map(link => link.href)"
    )
    return [
        urldefrag(href).url
        for href in hrefs
        if href.startswith(f"{magi.base_url}/admin/") and "/logout/" not in href
    ]


def test_no_page_of_the_admin_breaks_its_policy(context: BrowserContext, magi: Magi) -> None:
    page = context.new_page()
    complaints = Complaints(page)
    sign_in(page, magi)
    names = [
        f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}"
        for model in admin.site._registry
        for name in ("changelist", "add")
    ]
    to_see = [page.url, *(magi.base_url + reverse(name) for name in names)]
    seen: dict[str, set[str]] = {}

    while to_see:
        url = to_see.pop(0)
        path = urlsplit(url).path
        of_this_kind = seen.setdefault(kind_of(path), set())
        if path in of_this_kind or len(of_this_kind) == MAX_OF_A_KIND:
            continue
        of_this_kind.add(path)
        answer = page.goto(url)
        assert answer is not None
        if answer.status == 403 and path.endswith("/add/"):
            complaints.found.clear()  # nobody adds such rows
            continue
        assert answer.status == 200, url
        to_see += links_of(page, magi)

    assert complaints.found == []
    assert any(kind.endswith("/N/change/") for kind in seen)
    assert any(kind.endswith("/N/history/") for kind in seen)
    assert len(seen) > 2 * len(admin.site._registry)


def test_the_page_of_the_api_keeps_to_it_and_calls_nobody_else(
    context: BrowserContext, magi: Magi
) -> None:
    page = context.new_page()
    complaints = Complaints(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.goto(magi.base_url + DOCS)
    page.click(".opblock-tag >> nth=0")
    call = page.locator(".opblock-get", has_text="/api/models/registry").first
    for part in (".opblock-summary", ".try-out__btn", ".execute"):
        call.locator(part).first.click()
    call.locator(".live-responses-table").wait_for()

    assert complaints.found == []
    assert [url for url in asked if not url.startswith((magi.base_url, "data:"))] == []


def test_a_script_that_gets_into_a_page_does_not_run(
    context: BrowserContext, magi: Magi
) -> None:
    page = context.new_page()
    sign_in(page, magi)

    ran = page.evaluate(
        """async () => {
            const script = document.createElement("script");
            script.textContent = "window.ran = 'inline'";
            document.body.append(script);
            const broken = "<img src=/no-such-image onerror='window.ran = this.src'>";
            document.body.insertAdjacentHTML("beforeend", broken);
            const image = document.body.lastElementChild;
            await new Promise(resolve => image.addEventListener("error", resolve));
            return window.ran ?? "nothing";
        }"""
    )

    assert ran == "nothing"
