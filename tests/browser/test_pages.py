"""Every page keeps to MAGI's Content-Security-Policy, in a real browser, and is small."""

import pytest
from django.contrib import admin
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request

from tests.browser.conftest import sign_in
from tests.browser.walk import pages_of_the_admin
from tests.e2e.magi import Magi

pytestmark = pytest.mark.e2e

DOCS = "/api/docs/"
MAX_BYTES = 300_000


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


def count_requests(page: Page) -> list[Request]:
    """Return the list of those that its pages make from now on, each time for all they need.

    A page that is shown for longer asks for itself again, and changes what differs: how often
    is a matter of how slow this machine is, not of the page.
    """
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    requests: list[Request] = []

    def note(request: Request) -> None:
        if "x-magi-live" not in request.headers:
            requests.append(request)

    page.on("requestfinished", note)
    return requests


def test_no_page_of_the_admin_breaks_its_policy_or_is_large(
    context: BrowserContext, magi: Magi
) -> None:
    page = context.new_page()
    complaints = Complaints(page)
    sign_in(page, magi)
    requests = count_requests(page)
    sizes: dict[str, int] = {}

    for kind in pages_of_the_admin(page, magi):
        size = sum(each.sizes()["responseBodySize"] for each in requests)
        sizes[kind] = max(size, sizes.get(kind, 0))
        requests.clear()

    assert complaints.found == []
    assert {kind: size for kind, size in sizes.items() if size > MAX_BYTES} == {}
    assert any(kind.endswith("/N/change/") for kind in sizes)
    assert any(kind.endswith("/N/history/") for kind in sizes)
    assert len(sizes) > 2 * len(admin.site._registry)


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
