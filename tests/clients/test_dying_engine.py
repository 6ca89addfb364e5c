"""What each client says of a server that is killed in the middle of its answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from servers_app.gateway.routes import RoutingTable
from tests.clients.conftest import KEY
from tests.clients.serving import (
    CERTAIN,
    CHAT,
    ENDLESS,
    LASTING,
    PATIENCE_S,
    Engine,
    engine,
    gateway,
    route_of,
    table_of,
)

ASK: Any = [{"role": "user", "content": "Say hello."}]


@pytest.fixture
def mortal_engine(smollm2: Path, tmp_path: Path) -> Iterator[Engine]:
    flags = ("--ctx-size", "24576", "--parallel", "3")
    with engine(smollm2, tmp_path / "engine.log", CHAT, *flags) as running:
        yield running


@pytest.fixture
def url(mortal_engine: Engine) -> Iterator[str]:
    table = table_of(route_of(CHAT, mortal_engine.replica(1)))

    async def load() -> RoutingTable:
        return table

    with gateway(load) as address:
        yield address


def test_every_client_is_told_in_its_own_way(mortal_engine: Engine, url: str) -> None:
    with (
        openai.OpenAI(
            base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=PATIENCE_S
        ) as of_openai,
        anthropic.Anthropic(
            base_url=url, api_key=KEY, max_retries=0, timeout=PATIENCE_S
        ) as of_anthropic,
    ):
        chat = of_openai.chat.completions.create(
            model=CHAT, messages=ASK, stream=True, extra_body=ENDLESS
        )
        response = of_openai.responses.create(
            model=CHAT, input="Hello", stream=True, extra_body=ENDLESS
        )
        message = of_anthropic.messages.create(
            model=CHAT,
            messages=[{"role": "user", "content": LASTING}],
            max_tokens=8000,
            stream=True,
            extra_body=CERTAIN,
        )
        for stream in (chat, response, message):
            next(iter(stream))

        mortal_engine.kill()

        with pytest.raises(openai.APIError, match="went away"):
            list(chat)
        *_events, last = response
        assert last.type == "error"
        assert "went away" in last.message
        with pytest.raises(anthropic.APIError, match="went away"):
            list(message)
