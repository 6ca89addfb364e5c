"""The models' pages in a real browser: scanned anew, edited in place, saved, and read."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import serious_issues

pytestmark = pytest.mark.e2e

MODELS = "/admin/models_app/discoveredmodel/"
PHONE_WIDTH = 390
PATIENCE_MS = 60_000  # of a start, on a busy machine


def row_of(page: Page) -> Locator:
    return page.locator("#result_list tbody tr", has_text="SMOLLM2")


def save(page: Page) -> None:
    page.get_by_role("button", name="SAVE").click()
    expect(page.locator(".messagelist")).to_be_visible()


def test_a_rescan_is_followed_on_the_page_that_asked_for_it(admin: Page) -> None:
    admin.goto(MODELS)

    admin.get_by_role("button", name="RE-SCAN").click()

    over = admin.locator("#rescans .is-over")
    expect(over).to_contain_text("finished after", timeout=PATIENCE_MS)
    expect(admin.get_by_role("button", name="RE-SCAN")).to_be_enabled()
    over.get_by_role("link", name="Its report").click()
    expect(admin.locator("#content")).to_contain_text("Skipped files")


def test_a_model_is_disabled_and_enabled_by_its_checkbox(
    admin: Page, picture: Callable[[Page, str], None]
) -> None:
    admin.goto(MODELS)
    box = row_of(admin).get_by_role("checkbox", name=re.compile("^Enable"))
    status = row_of(admin).locator("td.field-status")
    expect(box).to_be_checked()

    box.uncheck()
    save(admin)
    expect(admin.locator(".messagelist")).to_contain_text("Disabled in")
    expect(status).to_contain_text("Stopped", timeout=PATIENCE_MS)

    box.check()
    save(admin)
    expect(admin.locator(".messagelist")).to_contain_text("Enabled in")
    expect(status).to_contain_text("Ready", timeout=PATIENCE_MS)  # live, without a reload
    picture(admin, "models")


@pytest.mark.parametrize("browser_runs", ["admin", "plain_admin"])
def test_overrides_are_set_in_the_list_and_taken_off_again(
    request: pytest.FixtureRequest, browser_runs: str
) -> None:
    page: Page = request.getfixturevalue(browser_runs)
    page.goto(MODELS)
    for column, chosen in (("tier", "powerful"), ("thinking", "on")):
        cell = row_of(page).locator(f"td.field-{column}_field")

        cell.locator("select").select_option(label=chosen)
        save(page)
        expect(cell.locator("option:checked")).to_have_text(chosen)
        expect(cell).to_contain_text("*")

        cell.locator("select").select_option(index=0)
        save(page)
        expect(cell.locator("option:checked")).to_contain_text("(auto)")
        expect(cell).not_to_contain_text("*")


def test_a_models_page_shows_what_it_takes_and_is_for_everybody(
    admin: Page, picture: Callable[[Page, str], None]
) -> None:
    admin.goto(MODELS)
    assert serious_issues(admin) == []

    row_of(admin).get_by_role("link").click()

    memory = admin.locator("#memory")
    expect(memory.get_by_role("row", name="2,048")).to_contain_text("fits now")
    expect(memory.get_by_role("row", name="trained")).to_be_visible()
    expect(admin.locator("#servers")).to_contain_text("Ready")
    assert serious_issues(admin) == []
    picture(admin, "model")
    admin.get_by_role("button", name="Check the files").click()
    expect(admin.locator(".messagelist")).to_contain_text("All is well")


def test_on_a_phone_each_model_is_a_card_within_the_window(admin: Page) -> None:
    admin.set_viewport_size({"width": PHONE_WIDTH, "height": 844})
    admin.goto(MODELS)

    for part in ("enabled_field", "tier_field", "thinking_field", "status"):
        cell = row_of(admin).locator(f"td.field-{part}")
        cell.scroll_into_view_if_needed()
        box = cell.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE_WIDTH
    assert admin.evaluate("document.documentElement.scrollWidth") <= PHONE_WIDTH
