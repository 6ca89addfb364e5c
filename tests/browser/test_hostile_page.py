"""A web page of somebody else's, open in the browser of a person who is signed in to MAGI.

It reads nothing and changes nothing, whichever of its names and whichever way it tries.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser import hostile
from tests.browser.conftest import sign_in
from tests.e2e.magi import Magi

pytestmark = pytest.mark.e2e

READS = [
    "/api/models/registry",
    "/api/models/servers",
    "/api/models/profile",
    "/api/models/profiles/demo",
    "/api/admin/system/info",
    "/api/schema/",
    "/v1/models",
    "/admin/",
]
MODEL = "smollm2_135m_q41_fast"
WRITES: list[tuple[str, str, str]] = [
    ("POST", "/api/models/profiles", '{"name": "Evil", "enabled_models": []}'),
    ("PUT", "/api/models/profiles/demo", '{"name": "Demo", "enabled_models": []}'),
    ("PATCH", "/api/models/profiles/demo", '{"description": "evil"}'),
    ("DELETE", "/api/models/profiles/development", ""),
    ("POST", "/api/models/profiles/development/activate", ""),
    ("PUT", f"/api/models/{MODEL}/enabled", '{"enabled": false}'),
    ("PUT", f"/api/models/{MODEL}/tier", '{"tier": "powerful"}'),
    ("POST", f"/api/models/servers/{MODEL}/stop", ""),
    ("POST", "/api/models/servers/stop-all", ""),
    ("POST", "/api/admin/servers/stop", ""),
    ("POST", "/api/models/rescan", ""),
    ("POST", "/api/query", '{"query": "hello"}'),
    ("POST", "/ai/switch-model", '{"model": "x"}'),
    ("POST", "/v1/chat/completions", '{"model": "auto", "messages": []}'),
]
BODY_TYPES = [
    "application/json",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
]
FORMS: list[tuple[str, dict[str, str]]] = [
    ("/admin/login/", {"username": "admin", "password": "wrong"}),
    ("/admin/logout/", {}),
    ("/admin/profiles_app/profile/add/", {"name": "Evil", "slug": "evil"}),
    ("/admin/servers_app/server/", {"action": "stop_selected", "_selected_action": "1"}),
    ("/admin/auth/user/1/password/", {"password1": "evil-12345", "password2": "evil-12345"}),
    ("/api/models/servers/stop-all", {}),
    ("/api/models/profiles", {'{"name": "Evil", "x": "': '"}'}),
    ("/v1/chat/completions", {'{"model": "auto", "x": "': '"}'}),
]


@pytest.fixture(scope="module")
def hostile_port() -> Iterator[int]:
    with hostile.hostile_server() as port:
        yield port


@pytest.fixture(params=["localhost", "127.0.0.1", "evil.test"])
def page(
    request: pytest.FixtureRequest, context: BrowserContext, magi: Magi, hostile_port: int
) -> Page:
    """The hostile page, in a browser that is signed in to MAGI.

    As a page of localhost it is of the same site as MAGI, and cookies go along.
    """
    sign_in(context.new_page(), magi)
    page = context.new_page()
    page.goto(f"http://{request.param}:{hostile_port}/")
    return page


@pytest.fixture(autouse=True)
def _nothing_changes(magi: Magi) -> Iterator[None]:
    before = state_of(magi)
    yield
    assert state_of(magi) == before


@pytest.fixture(autouse=True, scope="module")
def _nothing_is_noted(magi: Magi) -> Iterator[None]:
    """Of what came through, a row would tell: a request, a change, another password."""
    before = magi.run_command("shell", "-c", ROWS).stdout
    yield
    assert magi.run_command("shell", "-c", ROWS).stdout == before


def state_of(magi: Magi) -> dict[str, Any]:
    """Return what an honest client sees, but for what time alone changes."""
    servers = magi.get("/api/models/servers?all=true")["servers"]
    profiles = magi.get("/api/models/profiles")
    return {
        "registry": magi.get("/api/models/registry"),
        "profiles": {name: magi.get(f"/api/models/profiles/{name}") for name in profiles},
        "active": magi.get("/api/models/profile"),
        "servers": [(s["model_id"], s["pid"], s["state"], s["restarts"]) for s in servers],
    }


ROWS = """
from django.contrib.auth.models import User
from servers_app.models import ServerEvent
from servers_app.request_models import RequestRecord
users = list(User.objects.values_list("username", "password"))
print("rows:", RequestRecord.objects.count(), ServerEvent.objects.count(), users)
"""


def addresses(magi: Magi) -> list[str]:
    """Return the addresses at which MAGI is reached on this machine."""
    port = urlsplit(magi.base_url).port
    return [f"http://localhost:{port}", f"http://127.0.0.1:{port}"]


def test_the_attempts_are_real_ones(context: BrowserContext, magi: Magi) -> None:
    """From MAGI's own pages they work: it is not the test that blocks them."""
    page = context.new_page()
    sign_in(page, magi)

    read = page.evaluate(hostile.TRY_FETCH, ["/api/models/profiles", {}])
    written = page.evaluate(
        hostile.TRY_FETCH,
        ["/api/models/profiles", {"method": "POST", "body": "{}"}],
    )

    assert read.startswith("basic 200 ")
    assert not written.startswith("blocked")


@pytest.mark.parametrize("mode", ["cors", "no-cors"])
def test_it_reads_nothing(page: Page, magi: Magi, mode: str) -> None:
    options = {"mode": mode, "credentials": "include"}

    got = [
        page.evaluate(hostile.TRY_FETCH, [address + path, options])
        for address in addresses(magi)
        for path in READS
    ]

    assert set(got) == {"blocked"}


@pytest.mark.parametrize(
    ("name", "place"), [("script", "src"), ("img", "src"), ("link", "href"), ("video", "src")]
)
def test_it_includes_nothing(page: Page, magi: Magi, name: str, place: str) -> None:
    got = [
        page.evaluate(hostile.TRY_ELEMENT, [name, place, address + path])
        for address in addresses(magi)
        for path in [*READS, "/static/magi/admin.css", "/static/magi/favicon.svg"]
    ]

    assert set(got) == {"blocked"}


def test_it_frames_nothing(page: Page, magi: Magi) -> None:
    for address in addresses(magi):
        for path in ("/admin/", "/api/docs/", "/api/models/registry", "/v1/models"):
            page.evaluate(hostile.TRY_ELEMENT, ["iframe", "src", address + path])

    urls = {frame.url for frame in page.frames[1:]} - {""}  # that of one that just begins
    assert urls == {"chrome-error://chromewebdata/"}


@pytest.mark.parametrize("mode", ["cors", "no-cors"])
def test_it_writes_nothing(page: Page, magi: Magi, mode: str) -> None:
    got = []
    for address in addresses(magi):
        for method, path, body in WRITES:
            for body_type in BODY_TYPES if body else [""]:
                options: dict[str, Any] = {"method": method, "mode": mode}
                options["credentials"] = "include"
                if body:
                    options |= {"body": body, "headers": {"content-type": body_type}}
                got.append(page.evaluate(hostile.TRY_FETCH, [address + path, options]))

    assert set(got) == {"blocked"}


def test_it_sends_no_beacon_that_does_anything(page: Page, magi: Magi) -> None:
    refusals: list[int] = []
    page.on("response", lambda answer: refusals.append(answer.status))

    for address in addresses(magi):
        for _, path, _ in WRITES:
            for body_type in BODY_TYPES[1:]:
                page.evaluate(hostile.TRY_BEACON, [address + path, body_type])

    assert not [status for status in refusals if status < 400]


@pytest.mark.parametrize("enctype", ["application/x-www-form-urlencoded", "text/plain"])
def test_its_forms_are_refused(page: Page, magi: Magi, enctype: str) -> None:
    home = page.url

    for address in addresses(magi):
        for path, fields in FORMS:
            with page.expect_navigation(url=address + path) as navigation:
                page.evaluate(hostile.SUBMIT_FORM, [address + path, enctype, fields])
            assert navigation.value is not None
            assert navigation.value.status in {400, 403, 404, 415}, path
            page.goto(home)


def test_it_listens_to_nothing(page: Page, magi: Magi) -> None:
    got = []
    for address in addresses(magi):
        for path in ("/api/events", "/v1/chat/completions", "/"):
            got.append(page.evaluate(hostile.TRY_SOCKET, address.replace("http", "ws") + path))
            got.append(page.evaluate(hostile.TRY_EVENTS, address + path))

    assert set(got) == {"blocked"}


def test_a_name_that_is_pointed_here_is_not_served(context: BrowserContext, magi: Magi) -> None:
    """DNS rebinding: once the page is there, its own name leads to MAGI: one origin."""
    page = context.new_page()
    own = f"http://evil.test:{urlsplit(magi.base_url).port}"
    page.route(
        f"{own}/cats", lambda route: route.fulfill(body="cats", content_type="text/html")
    )
    page.goto(f"{own}/cats")

    got = [
        page.evaluate(hostile.TRY_FETCH, [path, {"method": method}])
        for method, path in [("GET", path) for path in READS] + [w[:2] for w in WRITES]
    ]

    assert {text[: len("basic 400")] for text in got} == {"basic 400"}
    assert not [text for text in got if MODEL in text]
