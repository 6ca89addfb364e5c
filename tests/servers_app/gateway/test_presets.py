"""A sampling preset gives a request what it does not say itself."""

import json
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles_app.preset_models import SamplingPreset
from profiles_app.services import make_active, save_yaml
from servers_app.gateway.bodies import read_model, with_defaults, with_model
from servers_app.gateway.routes import RoutingTable
from servers_app.gateway.table import read_table
from tests.servers_app.gateway.conftest import (
    MakeGateway,
    MakeUpstream,
    make_replica,
    make_route,
    make_table,
)

CHAT = "/v1/chat/completions"
PRESETS = {"calm": {"temperature": 0.2, "max_tokens": 64}, "wild": {"temperature": 1.8}}

_values = st.none() | st.booleans() | st.integers() | st.text()
_bodies = st.dictionaries(st.sampled_from(["a", "temperature", "max_tokens", "é"]), _values)


@given(before=_bodies, after=_bodies, indent=st.sampled_from([None, 2]))
def test_what_a_request_says_counts_and_the_rest_is_added(
    before: dict[str, Any], after: dict[str, Any], indent: int | None
) -> None:
    content = {**before, "model": "m", **after}
    body = json.dumps(content, ensure_ascii=False, indent=indent).encode()

    changed, field = with_defaults(body, read_model(body), PRESETS["calm"])

    assert json.loads(changed) == {**PRESETS["calm"], **content}
    assert json.loads(with_model(changed, field, "new"))["model"] == "new"


def test_an_output_length_under_another_name_counts_as_well() -> None:
    body = b'{"model": "m", "max_completion_tokens": 5}'

    changed, _ = with_defaults(body, read_model(body), PRESETS["calm"])

    assert json.loads(changed) == {
        "model": "m", "max_completion_tokens": 5, "temperature": 0.2
    }  # fmt: skip


def test_nothing_to_add_leaves_every_byte() -> None:
    body = b' {"model":"m" }'

    assert with_defaults(body, read_model(body), {})[0] is body


@pytest.fixture
async def upstream_body(
    make_gateway: MakeGateway, make_upstream: MakeUpstream, client: aiohttp.ClientSession
) -> Any:
    """Return a function that posts to a gateway and gives what llama-server was sent."""
    upstream = await make_upstream()
    table = make_table(make_route("m", make_replica(upstream.url)))
    gateway = await make_gateway(replace(table, preset="calm", presets=PRESETS))

    async def post(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        async with client.post(gateway + path, json=body) as response:
            answer = await response.json()
        sent = upstream.received[-1].body if upstream.received else b"null"
        return response.status, json.loads(sent) if response.status == 200 else answer

    return post


@pytest.mark.parametrize(
    ("path", "body", "temperature"),
    [
        pytest.param(CHAT, {}, 0.2, id="the profile's"),
        pytest.param(CHAT, {"preset": "wild"}, 1.8, id="the request's"),
        pytest.param(CHAT, {"preset": "wild", "temperature": 1}, 1, id="its own"),
        pytest.param("/v1/completions", {"preset": "wild"}, 1.8, id="completions"),
        pytest.param("/v1/embeddings", {}, None, id="what is not sampled"),
    ],
)
async def test_a_request_is_sent_on_with_its_preset(
    upstream_body: Any, path: str, body: dict[str, Any], temperature: float | None
) -> None:
    status, sent = await upstream_body(path, {"model": "m", **body})

    assert status == 200
    assert sent.get("temperature") == temperature


@pytest.mark.parametrize("preset", ["none", 3])
async def test_a_preset_that_is_not_there_is_refused(
    upstream_body: Any, preset: object
) -> None:
    status, answer = await upstream_body(CHAT, {"model": "m", "preset": preset})

    assert status == 400
    assert answer["error"]["param"] == "preset"


@pytest.mark.django_db(transaction=True)
def test_the_table_has_the_profiles_preset_and_all_others() -> None:
    SamplingPreset.objects.create(name="calm", temperature=0.2, stop=["\n"])
    make_active(save_yaml("name: A\npreset: calm\n"))

    table = read_table()

    assert isinstance(table, RoutingTable)
    assert table.defaults(None) == {"temperature": 0.2, "stop": ["\n"]}
