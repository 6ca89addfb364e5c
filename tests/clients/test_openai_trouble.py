"""The official openai client when something is wrong, or somebody leaves."""

import base64
import time
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from servers_app.gateway.errors import LOADING_RETRY_AFTER_S
from servers_app.gateway.routes import READY, STARTING, RoutingTable
from tests.clients.conftest import KEY
from tests.clients.serving import (
    CHAT,
    EMBEDDER,
    ENDLESS,
    IDLE_PAUSE_S,
    PATIENCE_S,
    Engine,
    gateway,
    route_of,
    table_of,
    until,
)

ASK: Any = [{"role": "user", "content": "Say hello."}]


def image(size_bytes: int) -> Any:
    encoded = base64.b64encode(bytes(size_bytes)).decode()
    url = {"url": f"data:image/png;base64,{encoded}"}
    return [{"role": "user", "content": [{"type": "image_url", "image_url": url}]}]


def test_an_unknown_model_is_not_found_with_what_there_is(
    openai_client: openai.OpenAI,
) -> None:
    with pytest.raises(openai.NotFoundError, match=CHAT) as caught:
        openai_client.chat.completions.create(model="gpt-4o", messages=ASK)

    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"


def test_an_unknown_model_cannot_be_retrieved(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        openai_client.models.retrieve("gpt-4o")

    assert caught.value.code == "model_not_found"


def test_a_model_that_is_no_text_is_a_bad_request(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.chat.completions.create(model=5, messages=ASK)  # type: ignore[call-overload] # what is tested

    assert caught.value.type == "invalid_request_error"
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"messages": "Hello"}, id="messages that are no list"),
        pytest.param({"messages": ASK, "tool_choice": "bogus"}, id="an unknown tool choice"),
        pytest.param({"messages": [{"role": "user", "content": 5}]}, id="content of a number"),
        pytest.param(
            {"messages": [{"role": "user", "content": "a " * 20_000}]}, id="a long prompt"
        ),
        pytest.param({"messages": image(100)}, id="an image, to a model that sees none"),
        pytest.param({"messages": image(15_000_000)}, id="an image of 20 MB in base64"),
    ],
)
def test_what_the_engine_refuses_is_said_in_its_words(
    openai_client: openai.OpenAI, chat_engine: Engine, body: dict[str, Any]
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        openai_client.post("/chat/completions", cast_to=object, body={"model": CHAT, **body})

    status, said = chat_engine.ask("/v1/chat/completions", body)
    assert caught.value.status_code == status >= 400
    assert caught.value.body == said["error"]


def test_a_model_of_text_embeds_nothing(
    openai_client: openai.OpenAI, chat_engine: Engine
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        openai_client.embeddings.create(model=CHAT, input="a cat")

    status, said = chat_engine.ask("/v1/embeddings", {"input": "a cat"})
    assert (caught.value.status_code, caught.value.body) == (status, said["error"])


def test_a_body_of_20_mb_is_answered(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(
        model=CHAT, messages=ASK, max_tokens=2, extra_body={"padding": "é" * 10_000_000}
    )

    assert answer.choices[0].finish_reason == "length"


def test_leaving_a_stream_frees_the_slot(
    openai_client: openai.OpenAI, chat_engine: Engine
) -> None:
    stream = openai_client.chat.completions.create(
        model=CHAT, messages=ASK, stream=True, extra_body=ENDLESS
    )
    next(stream)
    assert not chat_engine.is_idle

    stream.close()

    until(lambda: chat_engine.is_idle, pause_s=IDLE_PAUSE_S)


def test_a_client_that_loses_patience_frees_the_slot(
    openai_client: openai.OpenAI, chat_engine: Engine
) -> None:
    with pytest.raises(openai.APITimeoutError):
        openai_client.chat.completions.create(
            model=CHAT, messages=ASK, extra_body=ENDLESS, timeout=1
        )

    until(lambda: chat_engine.is_idle, pause_s=IDLE_PAUSE_S)


@dataclass
class Loading:
    """What the gateway is told of a model that loads."""

    engine: Engine
    state: str = STARTING

    async def load(self) -> RoutingTable:
        return table_of(route_of(CHAT, self.engine.replica(1, state=self.state)))


def test_a_client_without_retries_is_told_that_the_model_loads(chat_engine: Engine) -> None:
    with (
        gateway(Loading(chat_engine).load) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.chat.completions.create(model=CHAT, messages=ASK)

    assert caught.value.status_code == 503
    assert caught.value.code == "model_loading"
    assert int(caught.value.response.headers["retry-after"]) > 0


def test_a_client_that_retries_waits_as_long_as_it_is_told(
    chat_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = Loading(chat_engine)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        loading.state = READY

    with (
        gateway(loading.load) as url,
        openai.OpenAI(
            base_url=f"{url}/v1", api_key=KEY, max_retries=1, timeout=PATIENCE_S
        ) as client,
        monkeypatch.context() as patched,
    ):
        patched.setattr(time, "sleep", sleep)
        answer = client.chat.completions.create(model=CHAT, messages=ASK, max_tokens=2)

    assert answer.choices[0].finish_reason == "length"
    assert waited == [LOADING_RETRY_AFTER_S]


def test_an_embedder_does_not_stand_in_for_auto(
    openai_client: openai.OpenAI,
) -> None:
    raw = openai_client.chat.completions.with_raw_response.create(
        model="auto", messages=ASK, max_tokens=1
    )

    assert raw.headers["x-magi-model"] != EMBEDDER
