"""From the first start of MAGI to an answer, and to the end, all in the admin."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import sign_in
from tests.e2e.magi import PATIENCE_S, Magi, magi_in

pytestmark = pytest.mark.e2e

PATIENCE_MS = PATIENCE_S * 1000


@pytest.fixture
def empty_magi(tmp_path: Path) -> Iterator[Magi]:
    """A MAGI that was never started before, and finds no model."""
    with magi_in(tmp_path) as running:
        (tmp_path / "models").mkdir()
        running.environment["MODEL_SCAN_PATH"] = str(tmp_path / "models")
        running.start()
        yield running


@pytest.fixture
def page(browser: Browser, empty_magi: Magi, scripts: bool) -> Iterator[Page]:
    with browser.new_context(
        base_url=empty_magi.base_url, java_script_enabled=scripts
    ) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        sign_in(page, empty_magi)
        yield page


def shows(place: Locator, text: str, *, live: bool) -> None:
    """Wait until it says so: by itself, or by looking again where no script does that."""
    if not live:
        for _ in range(PATIENCE_S):
            if place.count() and text in " ".join(place.all_text_contents()):
                break
            place.page.wait_for_timeout(1000)
            place.page.reload()
    expect(place.first).to_contain_text(text, timeout=PATIENCE_MS)


@pytest.mark.parametrize("scripts", [True, False])
def test_from_the_first_start_to_an_answer_and_to_the_end(
    page: Page, empty_magi: Magi, smollm2: Path, scripts: bool
) -> None:
    page.goto("/admin/")
    expect(page.locator("#content")).to_contain_text("MODEL_SCAN_PATH")  # what to do first

    # Found, and no more than that.
    folder = Path(empty_magi.environment["MODEL_SCAN_PATH"])
    (folder / smollm2.name).symlink_to(smollm2)
    page.click("text=RE-SCAN HUB")
    shows(page.locator("#rescans"), "1 added", live=scripts)
    page.goto("/admin/models_app/discoveredmodel/")
    row = page.locator("#result_list tbody tr")
    box = row.get_by_role("checkbox", name=re.compile("^Enable"))
    expect(box).not_to_be_checked()
    shows(row.locator(".field-status"), "found", live=scripts)

    # Enabled, and started by that.
    box.check()
    page.get_by_role("button", name="SAVE").click()
    shows(row.locator(".field-status"), "Ready", live=scripts)

    # It answers.
    page.goto("/admin/playground/")
    page.fill("#id_max_tokens", "16")
    page.fill("#id_prompt", "Say hello.")
    page.get_by_role("button", name="SEND").click()
    facts = page.locator(".playground-facts").first
    expect(facts).to_contain_text("smollm2", timeout=PATIENCE_MS)
    page.goto("/admin/servers_app/requestrecord/")
    # Written down in batches: the list may be empty at first.
    shows(page.locator("#result_list tbody tr"), "Answered", live=False)

    # Stopped, and nothing runs any more.
    page.goto("/admin/servers_app/server/")
    page.get_by_role("button", name="Drain and stop").click()
    shows(page.locator("#result_list tbody tr .field-state_badge"), "Stopped", live=scripts)
    assert not [each for each in empty_magi.processes() if "--model" in each.cmdline()]
