"""Activity: requests as they come, labelled where they stand, and what they come to."""

import csv
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import serious_issues
from tests.e2e.magi import PATIENCE_S, Magi

pytestmark = pytest.mark.e2e

MODEL_ID = "smollm2_135m_q41_fast"
REQUESTS, USAGE = "/admin/servers_app/requestrecord/", "/admin/servers_app/usageminute/"
PHONE, WIDE = (390, 844), (1360, 850)


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """Wait for what takes long on a busy machine."""
    expect.set_options(timeout=1000 * PATIENCE_S)
    yield
    expect.set_options(timeout=5_000)  # Playwright's own


def ask(magi: Magi, model: str = "auto") -> None:
    said = [{"role": "user", "content": f"Say {uuid.uuid4()}."}]
    magi.call(
        "POST", "/v1/chat/completions", {"model": model, "messages": said, "max_tokens": 4}
    )


def rows(page: Page) -> int:
    return page.locator("#result_list tbody tr").count()


def newest(page: Page) -> str | None:
    return page.locator("#result_list tbody time").first.get_attribute("id")


def has_row(page: Page, magi: Magi, path: str = REQUESTS) -> None:
    """Go to a list that has a request: it is written down a second after its answer."""
    ask(magi)

    def is_there() -> bool:
        page.goto(path)
        return rows(page) > 0

    magi.until(is_there)


def test_a_request_comes_into_the_list_by_itself(
    admin: Page, magi: Magi, picture: Callable[[Page, str], None]
) -> None:
    has_row(admin, magi)
    before = newest(admin)
    admin.evaluate("window.isTheSamePage = true")
    ticked = admin.locator(".action-select").first
    ticked.check()
    number = ticked.input_value()

    ask(magi)

    magi.until(lambda: newest(admin) != before)
    expect(admin.locator("#result_list tbody tr").first).to_contain_text(f"auto → {MODEL_ID}")
    assert admin.evaluate("window.isTheSamePage")
    assert admin.locator(f".action-select[value='{number}']").is_checked()
    picture(admin, "requests")


def test_a_label_is_given_in_the_list_and_taken_back_on_the_page(
    admin: Page, magi: Magi, picture: Callable[[Page, str], None]
) -> None:
    has_row(admin, magi, f"{REQUESTS}?live=0")
    admin.evaluate("window.isTheSamePage = true")
    row = admin.locator("#result_list tbody tr", has=admin.locator(f"#{newest(admin)}"))
    powerful = row.get_by_role("button", name="Powerful")

    powerful.click()

    expect(powerful).to_have_attribute("aria-pressed", "true")
    assert admin.evaluate("window.isTheSamePage")
    row.locator("th a").click()
    expect(admin.get_by_text("labelled Powerful")).to_be_visible()
    picture(admin, "request")
    assert serious_issues(admin) == []

    admin.get_by_role("button", name="Take back").click()

    expect(admin.get_by_text("The label was taken back")).to_be_visible()
    expect(admin.get_by_text("labelled Powerful")).to_have_count(0)


def test_errors_are_found_in_one_click_and_explained(admin: Page, magi: Magi) -> None:
    has_row(admin, magi)
    with pytest.raises(OSError, match="404"):
        ask(magi, "no-such-model")
    admin.locator(".object-tools").get_by_role("link", name="Errors").click()

    def is_there() -> bool:
        admin.reload()
        return rows(admin) > 0

    magi.until(is_there)

    expect(admin.locator("#result_list tbody tr").first).to_contain_text("model_not_found")
    assert admin.locator("#result_list").get_by_text("Answered").count() == 0
    admin.locator("#result_list tbody th a").first.click()
    expect(admin.get_by_role("alert")).to_contain_text("Enable the model in the active profile")


def test_usage_is_shown_and_downloaded(
    admin: Page, magi: Magi, tmp_path: Path, picture: Callable[[Page, str], None]
) -> None:
    has_row(admin, magi)
    admin.goto(f"{USAGE}?days=1&by=model")
    line = admin.locator("#usage tbody tr", has_text=MODEL_ID).first
    shown = int(line.locator("td").first.inner_text())
    picture(admin, "usage")

    with admin.expect_download() as download:
        admin.get_by_role("link", name="Download CSV").click()

    file = tmp_path / "usage.csv"
    download.value.save_as(file)
    with file.open(newline="") as lines:
        kept = [row for row in csv.DictReader(lines) if row["Model"] == MODEL_ID]
    assert sum(int(row["Requests"]) for row in kept) >= shown > 0


def test_all_of_it_works_without_scripts(plain_admin: Page, magi: Magi) -> None:
    has_row(plain_admin, magi)
    row = plain_admin.locator("#result_list tbody tr").first
    name = row.locator("time").get_attribute("id")

    row.get_by_role("button", name="Fast").click()

    row = plain_admin.locator("#result_list tbody tr", has=plain_admin.locator(f"#{name}"))
    expect(row.get_by_role("button", name="Fast")).to_have_attribute("aria-pressed", "true")
    row.get_by_role("button", name="Fast").click()
    expect(row.get_by_role("button", name="Fast")).not_to_have_attribute("aria-pressed", "true")
    plain_admin.goto(USAGE)
    expect(plain_admin.locator("#usage svg[role=img]").first).to_be_visible()
    expect(plain_admin.get_by_role("link", name="by key")).to_be_visible()


def test_rights_are_given_in_words_and_a_key_is_shown_once(admin: Page) -> None:
    admin.goto("/admin/auth/group/add/")
    admin.locator("#id_permissions_from").select_option(label="Servers: can view server")
    admin.locator(".selector-chooser .selector-add").click()
    expect(admin.locator("#id_permissions_to")).to_contain_text("Servers: can view server")

    admin.goto("/admin/servers_app/apikey/add/")
    name = f"key {uuid.uuid4()}"
    admin.fill("#id_name", name)
    admin.get_by_role("button", name="Make the key").click()
    expect(admin.locator("#secret")).to_have_text(re.compile("magi_[0-9a-f]{64}"))
    admin.get_by_role("link", name="All keys").click()
    admin.get_by_role("link", name=f"Revoke {name}").click()
    expect(admin.get_by_text("refused at once")).to_be_visible()
    assert serious_issues(admin) == []
    admin.get_by_role("button", name="Revoke 1 key").click()
    expect(admin.get_by_text(f"Revoked the key {name}.")).to_be_visible()


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_everybody_can_read_it_on_a_phone_too(admin: Page, magi: Magi, scheme: str) -> None:
    has_row(admin, magi)
    admin.emulate_media(color_scheme="light" if scheme == "light" else "dark")
    issues: list[str] = []
    for path in (REQUESTS, USAGE, f"{USAGE}minutes/", "/admin/models_app/auditentry/"):
        admin.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
        admin.goto(path)
        issues += serious_issues(admin)
        admin.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert admin.evaluate(over) <= 0, path

    assert issues == []
