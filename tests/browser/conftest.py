"""A real browser, and all of MAGI running for it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.e2e.magi import Magi, magi_in

# Root runs no sandbox; the rest keeps the browser from calling anybody else.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # The browser's own check of who asks this machine: MAGI has to stand without it.
    "--disable-features=LocalNetworkAccessChecks",
    "--host-resolver-rules=MAP evil.test 127.0.0.1",  # whose owner points it here: rebinding
]


@pytest.fixture(scope="package")
def magi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Magi]:
    """All of MAGI, running with the demo model."""
    with magi_in(tmp_path_factory.mktemp("magi")) as running:
        running.start("--demo")
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    assert program, ".ci/run installs Debian's chromium"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser that remembers nothing."""
    context = browser.new_context()
    yield context
    context.close()


def sign_in(page: Page, magi: Magi) -> None:
    """Sign in as the first admin."""
    password = (Path(magi.environment["MAGI_DATA_DIR"]) / "admin_password").read_text().strip()
    page.goto(f"{magi.base_url}/admin/")
    page.fill("#id_username", "admin")
    page.fill("#id_password", password)
    page.click("input[type=submit]")
    page.wait_for_selector("#user-tools")
