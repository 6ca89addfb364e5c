"""Servers in the admin, in a real browser and with a real llama-server behind them."""

import json
import os
import signal
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.browser.conftest import serious_issues
from tests.browser.test_looks import PHONE, too_wide
from tests.e2e.magi import PATIENCE_S, Magi

pytestmark = pytest.mark.e2e

LIST = "/admin/servers_app/server/"
PATIENCE_MS = PATIENCE_S * 1000
BADGE, LINES, SAYS = "#server-now .magi-badge", "#log > span:not([hidden])", "#log-says"


def the_server(magi: Magi) -> dict[str, Any]:
    (server,) = magi.get("/api/models/servers?all=true")["servers"]
    return dict(server)


@pytest.fixture(autouse=True)
def _left_ready(magi: Magi) -> Iterator[None]:
    yield
    model_id = the_server(magi)["model_id"]
    magi.call("POST", f"/api/models/servers/{model_id}/start")
    magi.until(lambda: the_server(magi)["is_ready"])


def open_server(page: Page) -> None:
    page.goto(LIST)
    page.click("#result_list th.field-title a")


def mark(page: Page) -> None:
    """Mark the page as it is loaded now: the mark is gone after a reload."""
    page.evaluate("window.isStillThis = true")


def is_still_this(page: Page) -> bool:
    return bool(page.evaluate("window.isStillThis === true"))


@contextmanager
def long_answer(magi: Magi, words: str = "Tell me a very long story.") -> Iterator[None]:
    """Have the server answer somebody for as long as this lasts."""
    body = {
        "model": the_server(magi)["model_id"],
        "messages": [{"role": "user", "content": words}],
        "stream": True,
        "max_tokens": 7000,
        "ignore_eos": True,
    }
    request = urllib.request.Request(  # noqa: S310 - http, to ourselves
        f"{magi.base_url}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310
        answer.readline()
        yield


def test_a_stop_and_a_start_are_seen_without_a_reload(
    admin: Page, picture: Callable[[Page, str], None]
) -> None:
    open_server(admin)
    expect(admin.locator(BADGE)).to_have_text("Ready")
    expect(admin.locator(SAYS)).to_contain_text("live", timeout=PATIENCE_MS)
    picture(admin, "server")

    mark(admin)
    admin.get_by_role("button", name="Drain and stop").click()
    expect(admin.locator(".messagelist")).to_contain_text("Stopping")
    expect(admin.locator(BADGE)).to_have_text("Stopped", timeout=PATIENCE_MS)

    admin.get_by_role("button", name="Start", exact=True).click()
    expect(admin.locator(".messagelist")).to_contain_text("Starting")
    expect(admin.locator(BADGE)).to_have_text("Ready", timeout=PATIENCE_MS)
    expect(admin.get_by_role("button", name="Restart")).to_be_visible()
    assert is_still_this(admin)


def test_a_crash_and_what_comes_of_it_are_seen_without_a_reload(
    admin: Page, magi: Magi
) -> None:
    open_server(admin)
    expect(admin.locator(SAYS)).to_contain_text("live", timeout=PATIENCE_MS)
    admin.fill("#log-search", "launched")
    restarts = the_server(magi)["restarts"]
    mark(admin)

    os.kill(the_server(magi)["pid"], signal.SIGKILL)

    events = admin.locator("#server-events")
    expect(events.get_by_text("failed", exact=True).first).to_be_visible(timeout=PATIENCE_MS)
    magi.until(lambda: the_server(magi)["restarts"] == restarts + 1)
    fact = admin.locator("#server-cards dt", has_text="Restarts nobody asked for")
    expect(fact.locator("+ dd")).to_have_text(str(restarts + 1), timeout=PATIENCE_MS)
    expect(admin.locator(BADGE)).to_have_text("Ready", timeout=PATIENCE_MS)
    assert is_still_this(admin)
    assert admin.input_value("#log-search") == "launched"


def test_a_log_is_searched_held_still_and_kept(admin: Page, magi: Magi) -> None:
    open_server(admin)
    expect(admin.locator(LINES).first).to_be_visible(timeout=PATIENCE_MS)
    everything = admin.locator(LINES).count()

    admin.fill("#log-search", "LAUNCHED")
    found = admin.locator(LINES).all_text_contents()
    assert 0 < len(found) < everything
    assert all("launched" in line.lower() for line in found)
    expect(admin.locator(SAYS)).to_contain_text(f"{len(found)} of {everything} lines")
    admin.fill("#log-search", "")

    admin.get_by_role("button", name="Pause").click()
    with long_answer(magi):
        pass
    expect(admin.locator(SAYS)).to_contain_text("come meanwhile", timeout=PATIENCE_MS)
    expect(admin.locator("#log-pause")).to_contain_text("new", timeout=PATIENCE_MS)
    assert admin.locator(LINES).count() == everything
    admin.click("#log-pause")
    expect(admin.locator(SAYS)).to_have_text("live")
    assert admin.locator(LINES).count() > everything

    shown = admin.locator(LINES).all_text_contents()
    with admin.expect_download() as coming:
        admin.get_by_role("link", name="Download all").click()
    kept = Path(coming.value.path()).read_text()
    assert "\n".join(shown[-20:]) in kept


def test_what_cuts_a_request_asks_first(admin: Page, magi: Magi) -> None:
    admin.goto(LIST)
    row = admin.locator("#result_list tbody tr")
    expect(row.locator(".field-slots_shown")).to_have_text("0 / 1", timeout=PATIENCE_MS)
    row.locator(".action-select").check()

    with long_answer(magi):
        expect(row.locator(".field-slots_shown")).to_have_text("1 / 1", timeout=PATIENCE_MS)
        assert row.locator(".action-select").is_checked()
        row.locator("th.field-title a").click()
        page = admin.url
        admin.get_by_role("button", name="Stop at once").click()
        expect(admin.get_by_text("1 request in flight is cut")).to_be_visible()
        assert serious_issues(admin) == []
        admin.get_by_role("link", name="Leave it as it is").click()

    assert admin.url == page
    assert the_server(magi)["wanted"] == "running"


def test_without_scripts_the_buttons_work_and_the_log_is_there(
    plain_admin: Page, magi: Magi
) -> None:
    open_server(plain_admin)
    assert "launched" in plain_admin.inner_text("#log")
    assert not plain_admin.is_visible("#log-pause")

    plain_admin.get_by_role("button", name="Drain and stop").click()
    assert "Stopping" in plain_admin.inner_text(".messagelist")
    magi.until(lambda: the_server(magi)["state"] == "stopped")
    plain_admin.reload()
    assert plain_admin.inner_text(BADGE) == "Stopped"
    plain_admin.get_by_role("button", name="Start", exact=True).click()
    assert "Starting" in plain_admin.inner_text(".messagelist")


@pytest.mark.parametrize(
    ("scheme", "size"), [("dark", PHONE), ("light", ViewportSize(width=1360, height=850))]
)
def test_everybody_can_use_the_page_as_it_runs(
    admin: Page, scheme: Any, size: ViewportSize
) -> None:
    admin.set_viewport_size(size)
    admin.emulate_media(color_scheme=scheme)
    open_server(admin)
    expect(admin.locator(LINES).first).to_be_visible(timeout=PATIENCE_MS)
    admin.fill("#log-search", "no line has this")
    issues = serious_issues(admin) + too_wide(admin)

    admin.goto(f"{LIST}?state__exact=failed")
    issues += serious_issues(admin) + too_wide(admin)

    assert issues == []
