"""What no honest client sends is refused before anything else looks at it."""

import json
from typing import Any

import pytest

from magi_site.guard import RefusedError, refusal
from servers_app.gateway.asgi import Message

LOCAL = {"host": "localhost:8000"}
JSON = {**LOCAL, "content-type": "application/json", "content-length": "2"}
GUARDED = ["/v1/chat/completions", "/api/models/rescan", "/ai/switch-model"]


def scope(path: str, method: str = "POST", headers: dict[str, str] | None = None) -> Any:
    raw = [(name.encode(), value.encode()) for name, value in (headers or LOCAL).items()]
    return {
        "type": "http", "path": path, "method": method, "headers": raw, "query_string": b"",
    }  # fmt: skip


def status_of(answer: RefusedError | None) -> int | None:
    return None if answer is None else answer.status


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/models/rescan", "/admin/"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "", "localhost.evil.example"]
)
def test_a_foreign_host_is_refused(path: str, host: str) -> None:
    answer = refusal(scope(path, headers={"host": host}))

    assert answer is not None
    assert answer.status == 400
    assert "MAGI_ALLOWED_HOSTS" in answer.message


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example", "null", "http://localhost:3000", "http://127.0.0.1:8000",
        "http://[evil", "",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("path", GUARDED)
def test_a_page_of_another_site_is_refused(origin: str, method: str, path: str) -> None:
    answer = refusal(scope(path, method, {**JSON, "origin": origin}))

    assert status_of(answer) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_so_is_one_that_only_the_browser_tells_of(method: str, site: str) -> None:
    headers = {**JSON, "sec-fetch-site": site, "sec-fetch-mode": "no-cors"}

    assert status_of(refusal(scope("/api/models/registry", method, headers))) == 403


def test_a_link_from_another_site_may_be_followed_and_a_form_may_not_be_sent() -> None:
    headers = {**JSON, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}

    assert refusal(scope("/api/docs/", "GET", headers)) is None
    assert status_of(refusal(scope("/api/models/rescan", "POST", headers))) == 403


def test_an_old_browser_tells_by_its_referer() -> None:
    ours = {**JSON, "referer": "http://localhost:8000/admin/"}
    foreign = {**JSON, "referer": "https://evil.example/page"}

    assert refusal(scope("/api/models/rescan", headers=ours)) is None
    assert status_of(refusal(scope("/api/models/rescan", headers=foreign))) == 403


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "Text/Plain;charset=UTF-8",
        "",
        None,
    ],
)
@pytest.mark.parametrize("length", [{"content-length": "2"}, {"transfer-encoding": "chunked"}])
@pytest.mark.parametrize("path", GUARDED)
def test_a_body_that_any_page_could_send_is_refused_though_nothing_tells_of_the_page(
    path: str, length: dict[str, str], content_type: str | None
) -> None:
    typed = {} if content_type is None else {"content-type": content_type}

    answer = refusal(scope(path, headers={**LOCAL, **length, **typed}))

    assert answer is not None
    assert answer.status == 415
    assert "application/json" in answer.message


def test_an_empty_form_is_refused_as_well() -> None:
    headers = {**LOCAL, "content-type": "text/plain", "content-length": "0"}

    assert status_of(refusal(scope("/api/models/rescan", headers=headers))) == 415


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(LOCAL, id="curl -X POST"),
        pytest.param({**LOCAL, "content-length": "0"}, id="a client that sends nothing"),
        pytest.param(JSON, id="curl --json"),
        pytest.param({**JSON, "content-type": "application/yaml"}, id="a profile"),
        pytest.param({"host": "127.0.0.1:8000"}, id="by address"),
        pytest.param({"host": "[::1]:8000"}, id="by IPv6 address"),
        pytest.param({**JSON, "origin": "http://localhost:8000"}, id="our own page"),
        pytest.param({**JSON, "sec-fetch-site": "same-origin"}, id="our own, by the browser"),
        pytest.param({**JSON, "sec-fetch-site": "none"}, id="a person, by the browser"),
    ],
)
@pytest.mark.parametrize("path", GUARDED)
def test_callers_on_this_machine_are_let_in(path: str, headers: dict[str, str]) -> None:
    assert refusal(scope(path, headers=headers)) is None


def test_the_admin_has_a_check_of_its_own() -> None:
    form = {
        **LOCAL, "content-type": "application/x-www-form-urlencoded", "content-length": "9",
    }  # fmt: skip

    assert refusal(scope("/admin/login/", headers=form)) is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/models", ("error", "code", "origin_not_allowed")),
        ("/v1/messages", ("error", "type", "permission_error")),
        ("/api/models/registry", ("detail",)),
    ],
)
async def test_it_is_answered_in_the_words_of_each_api(
    path: str, expected: tuple[str, ...]
) -> None:
    sent: list[Message] = []
    call = scope(path, headers={**JSON, "origin": "https://evil.example"})
    answer = refusal(call)
    assert answer is not None

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await answer.answer(call, receive, send)

    found: Any = json.loads(sent[1]["body"])
    *keys, value = expected if len(expected) > 1 else (expected[0], answer.message)
    for key in keys:
        found = found[key]
    assert (sent[0]["status"], found) == (403, value)
