"""The dashboard in a browser: what is asked there is seen to happen, without scripts too."""

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import serious_issues
from tests.e2e.magi import PATIENCE_S, Magi

pytestmark = pytest.mark.e2e

INDEX = "/admin/"
SERVERS = "/api/models/servers"
PATIENCE_MS = PATIENCE_S * 1000


@pytest.fixture(autouse=True)
def _left_as_it_was(magi: Magi) -> Iterator[None]:
    """Have the server ready again for who comes next."""
    yield
    magi.call("POST", f"{SERVERS}/start-all?wait=60")
    magi.until(lambda: magi.get(SERVERS)["ready_servers"] == 1)


def line(page: Page, text: str) -> None:
    """Wait until the only server's line has `text`, with no reload in between."""
    expect(page.locator("#servers tbody tr")).to_contain_text(text, timeout=PATIENCE_MS)


def never_reloads(page: Page) -> Callable[[], bool]:
    page.evaluate("window.isTheSame = true")
    return lambda: bool(page.evaluate("window.isTheSame === true"))


def test_a_rescan_is_followed_to_its_result(admin: Page) -> None:
    admin.goto(INDEX)

    admin.click("text=RE-SCAN HUB")
    is_the_same = never_reloads(admin)

    told = admin.locator("#rescans")
    expect(told).to_contain_text("finished after", timeout=PATIENCE_MS)
    assert is_the_same()
    told.get_by_text("Its report").click()
    expect(admin.locator("#content")).to_contain_text("Finished")


def test_all_are_stopped_and_started_as_confirmed_and_it_is_seen_live(
    admin: Page, picture: Callable[[Page, str], None]
) -> None:
    admin.goto(INDEX)
    line(admin, "Ready")
    picture(admin, "dashboard")
    assert serious_issues(admin) == []

    admin.click("text=STOP ALL")
    expect(admin.locator("#stop-all")).to_contain_text("1 server stops")
    assert serious_issues(admin) == []
    admin.click("button:text('Stop all')")
    is_the_same = never_reloads(admin)
    line(admin, "Stopped")
    assert is_the_same()

    admin.click("text=START ALL")
    expect(admin.locator("#start-all")).to_contain_text("1 server starts")
    assert serious_issues(admin) == []
    admin.click("button:text('Start 1 server')")
    is_the_same = never_reloads(admin)
    line(admin, "Ready")
    assert is_the_same()


def test_a_server_that_is_killed_is_seen_to_come_back(admin: Page, magi: Magi) -> None:
    admin.goto(INDEX)
    line(admin, "Ready")
    (server,) = magi.get(SERVERS)["servers"]
    is_the_same = never_reloads(admin)

    os.kill(server["pid"], signal.SIGKILL)

    restarts = admin.locator("#servers tbody tr td[data-label=restarts]")
    expect(restarts).to_have_text(str(server["restarts"] + 1), timeout=PATIENCE_MS)
    line(admin, "Ready")
    expect(admin.locator("#events")).to_contain_text("failed")
    assert is_the_same()


def test_another_profile_shows_its_plan_first(admin: Page, magi: Magi) -> None:
    admin.goto(INDEX)

    admin.select_option("#switch", "fast-only")
    admin.click("text=See its plan")

    admin.wait_for_url("**/plan/")
    assert magi.get("/api/models/profile")["name"] == "Demo"


def test_all_of_it_works_without_scripts(plain_admin: Page, magi: Magi) -> None:
    def looks_until(text: str) -> None:
        magi.until(lambda: shows(text))

    def shows(text: str) -> bool:
        plain_admin.goto(INDEX)
        return text in plain_admin.content()

    plain_admin.goto(INDEX)
    plain_admin.click("text=RE-SCAN HUB")
    looks_until("finished after")
    plain_admin.click("text=STOP ALL")
    plain_admin.click("button:text('Stop all')")
    looks_until(">Stopped<")
    plain_admin.click("#servers button:text('Start')")
    looks_until(">Ready<")
    plain_admin.click("text=See its plan")
    assert plain_admin.url.endswith("/plan/")
