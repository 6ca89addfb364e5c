"""The official clients, each with the address of a gateway before real engines."""

from collections.abc import Iterator
from pathlib import Path

import anthropic
import openai
import pytest

from servers_app.gateway.routes import RoutingTable
from tests.clients.serving import (
    CHAT,
    EMBEDDER,
    PATIENCE_S,
    Engine,
    engine,
    gateway,
    route_of,
    table_of,
)

LOG = "engine.log"
KEY = "sk-none"  # whatever a client must send


@pytest.fixture(scope="session")
def chat_engine(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    log = tmp_path_factory.mktemp("chat") / LOG
    # A long context, so that what nobody stops goes on for minutes.
    flags = ("--ctx-size", "16384", "--parallel", "2", "--jinja")
    with engine(smollm2, log, f"{CHAT}-upstream", *flags) as running:
        yield running


@pytest.fixture(scope="session")
def embedding_engine(
    smollm2: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    log = tmp_path_factory.mktemp("embeddings") / LOG
    flags = ("--ctx-size", "512", "--parallel", "1", "--embeddings", "--pooling", "mean")
    with engine(smollm2, log, f"{EMBEDDER}-upstream", *flags) as running:
        yield running


@pytest.fixture(scope="session")
def gateway_url(chat_engine: Engine, embedding_engine: Engine) -> Iterator[str]:
    table = table_of(
        route_of(CHAT, chat_engine.replica(1)),
        route_of(EMBEDDER, embedding_engine.replica(2), kind="embedding"),
    )

    async def load() -> RoutingTable:
        return table

    with gateway(load) as url:
        yield url


@pytest.fixture(scope="session")
def openai_client(gateway_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{gateway_url}/v1", api_key=KEY, max_retries=0, timeout=PATIENCE_S
    ) as client:
        yield client


@pytest.fixture(scope="session")
def anthropic_client(gateway_url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=gateway_url, api_key=KEY, max_retries=0, timeout=PATIENCE_S
    ) as client:
        yield client
