"""A real browser, and all of MAGI running for it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, StorageState, sync_playwright

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

Picture = Callable[[Page, str], None]


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


@pytest.fixture(scope="package")
def session(browser: Browser, magi: Magi) -> StorageState:
    """What a browser keeps in which the first admin is signed in."""
    context = browser.new_context()
    sign_in(context.new_page(), magi)
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def admin(browser: Browser, magi: Magi, session: StorageState) -> Iterator[Page]:
    """A dark, wide page of the first admin; `goto` takes paths."""
    with browser.new_context(
        base_url=magi.base_url,
        storage_state=session,
        color_scheme="dark",
        viewport={"width": 1360, "height": 850},
    ) as context:
        yield context.new_page()


@pytest.fixture
def plain_admin(browser: Browser, magi: Magi, session: StorageState) -> Iterator[Page]:
    """The same in a browser that runs no scripts."""
    with browser.new_context(
        base_url=magi.base_url, storage_state=session, java_script_enabled=False
    ) as context:
        yield context.new_page()


# What shows that something is alive moves for ever.
SETTLED = """Promise.all(document.getAnimations()
    .filter(each => each.effect.getComputedTiming().endTime !== Infinity)
    .map(each => each.finished))"""


def serious_issues(page: Page, *rules: str) -> list[str]:
    """Return what axe-core finds that keeps somebody from using a page as it is now.

    Args:
        rules: only these of axe-core's.
    """
    page.evaluate(SETTLED)
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{page.url}: {rule['id']}: {rule['help']}: {node['html'][:200]}"
        for rule in found
        if rule["impact"] in {"serious", "critical"}
        for node in rule["nodes"][:3]
    ]


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Picture:
    """Keep a picture of a page, if `--pictures FOLDER` asks for them: those of docs/."""
    folder = request.config.getoption("--pictures")

    def keep(page: Page, name: str) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder) / f"{name}.png")

    return keep
