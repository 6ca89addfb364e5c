"""Every page of the admin: read by everybody, on a phone too, and in the light too."""

import pytest
from playwright.sync_api import Page, ViewportSize

from tests.browser.conftest import serious_issues
from tests.browser.walk import pages_of_the_admin
from tests.e2e.magi import Magi

pytestmark = pytest.mark.e2e

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
