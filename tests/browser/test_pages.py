"""Every page of MAGI keeps to its own Content-Security-Policy, in a real browser."""

import pytest
from django.contrib import admin
from playwright.sync_api import BrowserContext, ConsoleMessage, Page

from tests.browser.conftest import sign_in
from tests.browser.walk import pages_of_the_admin
from tests.e2e.magi import Magi

pytestmark = pytest.mark.e2e

DOCS = "/api/docs/"


class Complaints:
    """What the browser says against the pages that it shows."""

    def __init__(self, page: Page) -> None:
        self.found: list[str] = []
        self._page = page
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.found.append(f"{page.url}: {error}"))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and "status of 403" not in message.text:
            self.found.append(f"{self._page.url}: {message.text}")


def test_no_page_of_the_admin_breaks_its_policy(context: BrowserContext, magi: Magi) -> None:
    page = context.new_page()
    complaints = Complaints(page)
    sign_in(page, magi)

    seen = set(pages_of_the_admin(page, magi))

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
