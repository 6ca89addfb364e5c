"""The pages on MAGI itself, in a browser."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Picture

pytestmark = pytest.mark.e2e


def test_health_is_looked_at_again_without_a_reload(admin: Page, picture: Picture) -> None:
    admin.clock.install()  # ten seconds are not waited for
    admin.goto("/admin/system/")
    note = admin.locator("#health p", has_text="Looked at")
    before = note.text_content()
    assert before

    admin.wait_for_timeout(1_000)  # the note is by the second
    admin.clock.run_for(11_000)

    expect(note).not_to_have_text(before)
    expect(admin.locator("#part-servers")).to_contain_text("1 of 1 server ready")
    picture(admin, "health")


def test_every_endpoint_answers(admin: Page, picture: Picture) -> None:
    admin.goto("/admin/system/endpoints/")
    admin.get_by_role("button", name="Test the endpoints").click()

    heading = admin.locator(".magi-card h2", has_text="calls")
    expect(heading).to_contain_text("passed")
    expect(heading).not_to_contain_text("failed")
    picture(admin, "endpoints")


def test_a_rescan_is_asked_for_and_its_end_is_seen_without_a_reload(admin: Page) -> None:
    admin.goto("/admin/system/")
    scans = admin.locator("#health a[href*='/models_app/scan/']")
    before = scans.first.get_attribute("href")

    admin.get_by_role("button", name="RE-SCAN").click()

    expect(admin.locator("#rescans .is-over")).to_contain_text("finished after")
    expect(scans.first).not_to_have_attribute("href", before or "")


def test_it_can_be_read_without_scripts(plain_admin: Page, picture: Picture) -> None:
    plain_admin.goto("/admin/system/settings/")

    expect(plain_admin.locator("#setting-MAGI_API_AUTH")).to_contain_text("auto")
    picture(plain_admin, "settings")
