"""One of two servers of a model is killed under load: the other one carries on."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from servers_app.gateway.routes import RoutingTable
from tests.clients.conftest import KEY
from tests.clients.serving import CHAT, PATIENCE_S, Engine, engine, gateway, route_of, table_of

ASK: Any = [{"role": "user", "content": "Count to one hundred."}]
SLOTS = 3
CLIENTS = 8
REQUESTS = 40
LONG = {"ignore_eos": True, "max_tokens": 200}


@pytest.fixture
def engines(smollm2: Path, tmp_path: Path) -> Iterator[list[Engine]]:
    flags = ("--ctx-size", "3072", "--parallel", str(SLOTS))
    with ExitStack() as running:
        yield [
            running.enter_context(engine(smollm2, tmp_path / f"{name}.log", name, *flags))
            for name in ("one", "other")
        ]


@pytest.fixture
def client(engines: list[Engine]) -> Iterator[openai.OpenAI]:
    replicas = [
        replace(engine.replica(number), slots=SLOTS) for number, engine in enumerate(engines, 1)
    ]
    table = replace(
        table_of(route_of(CHAT, *replicas)),
        strategy="least_loaded",
        queue_wait_seconds=PATIENCE_S,
    )

    async def load() -> RoutingTable:
        return table

    with (
        gateway(load) as url,
        openai.OpenAI(
            base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=PATIENCE_S
        ) as one,
    ):
        yield one


def test_only_streams_that_had_begun_there_see_it(
    engines: list[Engine], client: openai.OpenAI
) -> None:
    def ask(_number: int) -> str | None:
        answer = client.chat.completions.create(model=CHAT, messages=ASK, max_tokens=8)
        return answer.choices[0].finish_reason

    streams = [
        client.chat.completions.create(model=CHAT, messages=ASK, stream=True, extra_body=LONG)
        for _ in engines
    ]
    for stream in streams:
        next(iter(stream))
    busy = [not engine.is_idle for engine in engines]

    with ThreadPoolExecutor(CLIENTS) as pool:
        asked = [pool.submit(ask, number) for number in range(REQUESTS)]
        asked[REQUESTS // 4].result(PATIENCE_S)
        engines[0].kill()
        reasons = [one.result(PATIENCE_S) for one in asked]

    assert busy == [True, True]
    assert set(reasons) <= {"length", "stop"}
    broken, whole = sorted((_end_of(stream) for stream in streams), key=len, reverse=True)
    assert "went away in the middle of its answer" in broken
    assert whole == "length"


def _end_of(stream: Any) -> str:
    try:
        *_chunks, last = (chunk for chunk in stream if chunk.choices)
    except openai.APIError as error:
        return error.message
    return str(last.choices[0].finish_reason)
