"""Every page of the admin: read by everybody, on a phone too, in the light too, and small."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, Request, ViewportSize

from tests.browser.conftest import serious_issues
from tests.browser.walk import pages_of_the_admin
from tests.e2e.magi import Magi

pytestmark = pytest.mark.e2e

MAX_BYTES = 300_000
COLOURS = ("color-contrast", "link-in-text-block")  # what another theme changes
WIDE, PHONE = ViewportSize(width=1360, height=850), ViewportSize(width=390, height=844)


def too_wide(page: Page) -> list[str]:
    """Say whether a page is wider than its window: what is wide has a frame of its own."""
    over: int = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return [f"{page.url}: {over} pixels too wide"] if over > 0 else []


def test_every_page_can_be_used_by_everybody(admin: Page, magi: Magi) -> None:
    issues: list[str] = []
    for _kind in pages_of_the_admin(admin, magi, of_a_kind=1):
        issues += [f"dark: {issue}" for issue in serious_issues(admin)]
        admin.emulate_media(color_scheme="light")
        issues += [f"light: {issue}" for issue in serious_issues(admin, *COLOURS)]
        admin.set_viewport_size(PHONE)
        issues += too_wide(admin)
        admin.set_viewport_size(WIDE)
        admin.emulate_media(color_scheme="dark")

    assert issues == []


@contextmanager
def counted(page: Page) -> Iterator[list[Request]]:
    requests: list[Request] = []

    def note(request: Request) -> None:
        requests.append(request)

    page.on("requestfinished", note)
    yield requests
    page.remove_listener("requestfinished", note)


def test_no_page_is_large(admin: Page, magi: Magi) -> None:
    session = admin.context.new_cdp_session(admin)
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    sizes: dict[str, int] = {}
    with counted(admin) as requests:
        for kind in pages_of_the_admin(admin, magi, of_a_kind=1):
            sizes[kind] = sum(each.sizes()["responseBodySize"] for each in requests)
            requests.clear()

    assert {kind: size for kind, size in sizes.items() if size > MAX_BYTES} == {}
