"""Who may call the gateway: by a key, from a browser, or just so."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

import aiohttp
import anthropic
import openai
import pytest

from servers_app.gateway.access import Caller, KeyUses, presented
from servers_app.gateway.errors import NotAllowedError
from servers_app.gateway.trace import Outcome
from tests.servers_app.gateway.conftest import (
    MakeUpstream,
    Stage,
    make_replica,
    make_route,
    make_table,
    until,
)
from tests.servers_app.gateway.sites import (
    CHAT,
    OTHER,
    SECRET,
    Site,
    ask,
    known,
    listed,
    make_key,
    open_site,
)


@pytest.fixture
async def site(stage: Stage, stack: AsyncExitStack) -> Site:
    return await open_site(stage, stack)


# -- what a request brings


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], None),
        ([(b"authorization", b"Bearer magi_x")], b"magi_x"),
        ([(b"authorization", b"bearer  magi_x ")], b"magi_x"),
        ([(b"x-api-key", b"magi_x")], b"magi_x"),
        ([(b"authorization", b"Basic YTpi")], None),
        ([(b"authorization", b"Bearer ")], None),
        ([(b"authorization", b"Bearer sk-1"), (b"x-api-key", b"magi_x")], b"magi_x"),
        ([(b"x-api-key", b"sk-2"), (b"authorization", b"Bearer sk-1")], b"sk-2"),
    ],
)
def test_a_key_is_read_as_either_api_sends_it(
    headers: list[tuple[bytes, bytes]], expected: bytes | None
) -> None:
    assert presented(headers) == expected


# -- where a key is needed


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"Authorization": "Bearer sk-none"}, id="of somebody else"),
        pytest.param({"Authorization": f"Bearer {OTHER}"}, id="unknown"),
        pytest.param({"Authorization": f"Bearer {SECRET[:-1]}"}, id="cut off"),
        pytest.param({"Authorization": f"Bearer {SECRET}x"}, id="too long"),
        pytest.param({"Authorization": "Basic YWRtaW46YWRtaW4="}, id="a password"),
        pytest.param({"X-Api-Key": "magi_"}, id="nothing behind our name"),
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/nothing"])
async def test_without_a_good_key_nothing_is_answered(
    site: Site, client: aiohttp.ClientSession, path: str, headers: dict[str, str]
) -> None:
    await site.show(make_table(make_route("qwen")), (SECRET, make_key()))

    async with client.post(site.url + path, json={"model": "qwen"}, headers=headers) as answer:
        body = await answer.json()

    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert body["error"]["code"] == "invalid_api_key"
    assert body["error"]["type"] == "invalid_request_error"
    assert not any(value.split()[-1] in str(body) for value in headers.values())
    assert not site.stage.recorded


async def test_a_client_of_anthropics_is_told_in_its_own_words(
    site: Site, client: aiohttp.ClientSession
) -> None:
    await site.show(make_table())

    status, body, _ = await ask(client, site, path="/v1/messages", X_Api_Key=OTHER)

    assert status == 401
    assert (body["type"], body["error"]["type"]) == ("error", "authentication_error")


@pytest.mark.parametrize("header", ["Authorization", "X-Api-Key"])
async def test_a_good_key_is_let_in_and_goes_no_further(
    site: Site, make_upstream: MakeUpstream, client: aiohttp.ClientSession, header: str
) -> None:
    upstream = await make_upstream()
    table = make_table(make_route("qwen", make_replica(upstream.url)))
    await site.show(table, (SECRET, make_key()))
    value = f"Bearer {SECRET}" if header == "Authorization" else SECRET

    async with client.post(
        site.url + CHAT, json={"model": "qwen"}, headers={header: value}
    ) as answer:
        assert answer.status == 200

    assert SECRET not in str(upstream.received)
    await until(lambda: bool(site.stage.recorded))
    assert site.stage.recorded[0].key == SECRET[:13]
    assert SECRET not in repr(site.stage.recorded)


async def test_a_key_that_has_expired_is_told_so(
    site: Site, client: aiohttp.ClientSession
) -> None:
    await site.show(make_table(), (SECRET, make_key(expires_at=1.0)))

    status, body, _ = await ask(client, site, Authorization=f"Bearer {SECRET}")

    assert status == 401
    assert "'ci' has expired" in body["error"]["message"]


async def test_a_key_without_the_scope_is_told_so_and_written_down(
    site: Site, client: aiohttp.ClientSession
) -> None:
    await site.show(
        make_table(make_route("qwen")), (SECRET, make_key(scopes=frozenset({"read"})))
    )

    status, body, _ = await ask(client, site, Authorization=f"Bearer {SECRET}")

    assert (status, body["error"]["code"]) == (403, "insufficient_scope")
    assert body["error"]["type"] == "permission_error"
    assert "infer" in body["error"]["message"]
    assert await listed(client, site, SECRET) == ["auto", "fast", "qwen"]
    await until(lambda: bool(site.stage.recorded))
    assert site.stage.recorded[0].outcome == Outcome.REFUSED


# -- how often


async def test_a_key_that_calls_too_often_is_told_when_to_call_again(
    site: Site, client: aiohttp.ClientSession
) -> None:
    site.limiter.left = 0
    await site.show(make_table(make_route("qwen")), (SECRET, make_key(rate_limit_per_minute=7)))

    status, body, headers = await ask(client, site, Authorization=f"Bearer {SECRET}")

    assert (status, headers["Retry-After"]) == (429, "12")
    assert body["error"]["code"] == "rate_limit_exceeded"
    assert "7 times a minute" in body["error"]["message"]
    assert site.limiter.hits == [(SECRET[:13], 7)]


async def test_a_key_without_a_limit_and_no_key_are_not_counted(
    site: Site, client: aiohttp.ClientSession
) -> None:
    await site.show(make_table(), (SECRET, make_key()))
    site.is_open = True

    await ask(client, site, Authorization=f"Bearer {SECRET}")
    await ask(client, site)

    assert site.limiter.hits == []


# -- an open gateway


@pytest.mark.parametrize("key", ["none", "sk-anything", ""])
async def test_an_open_gateway_ignores_what_clients_have_to_send(
    site: Site, make_upstream: MakeUpstream, client: aiohttp.ClientSession, key: str
) -> None:
    upstream = await make_upstream()
    site.is_open = True
    await site.show(make_table(make_route("qwen", make_replica(upstream.url))))

    status, _, _ = await ask(client, site, Authorization=f"Bearer {key}")

    assert status == 200
    await until(lambda: bool(site.stage.recorded))
    assert site.stage.recorded[0].key == "127.0.0.1"


async def test_a_key_of_ours_holds_where_none_is_needed(
    site: Site, client: aiohttp.ClientSession
) -> None:
    site.is_open = True
    limited = make_key(model_ids=frozenset({"b"}))
    await site.show(make_table(make_route("a"), make_route("b")), (SECRET, limited))

    unknown, _, _ = await ask(client, site, Authorization=f"Bearer {OTHER}")
    not_its_own, _, _ = await ask(client, site, "a", Authorization=f"Bearer {SECRET}")

    assert (unknown, not_its_own) == (401, 404)


# -- a browser


async def test_who_is_signed_in_needs_no_key(
    site: Site, make_upstream: MakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream = await make_upstream()
    await site.show(make_table(make_route("qwen", make_replica(upstream.url))))
    site.user = Caller("user ada")

    status, _, _ = await ask(client, site, Cookie="sessionid=1")

    assert status == 200
    await until(lambda: bool(site.stage.recorded))
    assert site.stage.recorded[0].key == "user ada"


async def test_who_is_signed_in_and_may_not_is_told_so(
    site: Site, client: aiohttp.ClientSession
) -> None:
    await site.show(make_table())
    site.user = NotAllowedError("Your account may not do this.")

    status, body, _ = await ask(client, site, Cookie="sessionid=1")

    assert (status, body["error"]["code"]) == (403, "not_allowed")


async def test_a_key_goes_before_a_session(site: Site, client: aiohttp.ClientSession) -> None:
    await site.show(
        make_table(make_route("qwen")), (SECRET, make_key(scopes=frozenset({"read"})))
    )
    site.user = Caller("user ada")

    status, _, _ = await ask(
        client, site, Cookie="sessionid=1", Authorization=f"Bearer {SECRET}"
    )

    assert status == 403


# -- keys that come and go


async def test_a_revoked_key_is_refused_with_the_next_table(
    site: Site, client: aiohttp.ClientSession
) -> None:
    await site.show(make_table(make_route("qwen")), (SECRET, make_key()))
    await listed(client, site, SECRET)

    await site.show(make_table(make_route("qwen")))

    status, _, _ = await ask(client, site, Authorization=f"Bearer {SECRET}")
    assert status == 401


async def test_a_new_key_counts_at_once(
    stage: Stage, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is not known has the keys read again, though nobody told of a new one."""
    monkeypatch.setattr("servers_app.gateway.live.MIN_REFRESH_INTERVAL_S", 0)
    site = await open_site(stage, stack, refresh_seconds=3600)

    stage.table = replace(make_table(make_route("qwen")), keys=known((SECRET, make_key())))

    async with aiohttp.ClientSession() as client:
        assert await listed(client, site, SECRET) == ["auto", "fast", "qwen"]


async def test_when_a_key_was_used_is_written_once_in_a_minute(
    site: Site, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers_app.gateway.access.WRITE_INTERVAL_S", 0)
    await site.show(make_table(make_route("qwen")), (SECRET, make_key()))

    for _ in range(5):
        await listed(client, site, SECRET)
    await until(lambda: bool(site.used))
    await listed(client, site, SECRET)

    (used,) = site.used
    assert set(used) == {SECRET[:13]}


async def test_a_clock_that_is_set_back_does_not_keep_uses_from_being_written() -> None:
    written: list[Mapping[str, float]] = []

    async def write(used: Mapping[str, float]) -> None:
        written.append(used)

    uses = KeyUses(write)
    for now in (7200.0, 7201.0, 10.0, 11.0):
        uses.note("k1", now)
        await uses.close()

    assert written == [{"k1": 7200.0}, {"k1": 10.0}]


# -- the clients of both


async def test_the_official_clients_work_with_a_key(
    site: Site, client: aiohttp.ClientSession
) -> None:
    await site.show(make_table(make_route("qwen")), (SECRET, make_key()))

    async with openai.AsyncOpenAI(base_url=f"{site.url}/v1", api_key=SECRET) as good:
        assert [model.id async for model in good.models.list()] == ["auto", "fast", "qwen"]
    async with openai.AsyncOpenAI(
        base_url=f"{site.url}/v1", api_key=OTHER, max_retries=0
    ) as bad:
        with pytest.raises(openai.AuthenticationError, match="not known here"):
            await bad.chat.completions.create(
                model="qwen", messages=[{"role": "user", "content": "Hi"}]
            )
    async with anthropic.AsyncAnthropic(
        base_url=site.url, api_key=OTHER, max_retries=0
    ) as claude:
        with pytest.raises(anthropic.AuthenticationError, match="not known here"):
            await claude.messages.create(
                model="qwen", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
            )
