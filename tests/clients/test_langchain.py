"""LangChain's chat models and embeddings."""

from typing import Literal

import openai
import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

from tests.clients.conftest import KEY
from tests.clients.serving import CHAT, EMBEDDER, PATIENCE_S


class Word(BaseModel):
    word: Literal["parrot"]


@pytest.fixture
def chat(gateway_url: str) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=f"{gateway_url}/v1",
        api_key=SecretStr(KEY),
        model=CHAT,
        temperature=0,
        max_completion_tokens=64,
        max_retries=0,
        timeout=PATIENCE_S,
    )


def test_langchain_chats(chat: ChatOpenAI) -> None:
    answer = chat.invoke([SystemMessage("Be brief."), HumanMessage("Say hello.")])

    assert answer.text
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 0


def test_langchain_streams(chat: ChatOpenAI) -> None:
    pieces = list(chat.stream("Say hello."))

    assert all(isinstance(piece, AIMessageChunk) for piece in pieces)
    assert len([piece for piece in pieces if piece.text]) > 1


def test_langchain_gets_what_a_schema_describes(chat: ChatOpenAI) -> None:
    answer = chat.with_structured_output(Word, method="json_schema").invoke("A bird?")

    assert answer == Word(word="parrot")


def test_langchain_raises_the_clients_own_error(chat: ChatOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        chat.model_copy(update={"model_name": "gpt-4o"}).invoke("Say hello.")


def test_langchain_embeds(gateway_url: str) -> None:
    embeddings = OpenAIEmbeddings(
        base_url=f"{gateway_url}/v1",
        api_key=SecretStr(KEY),
        model=EMBEDDER,
        check_embedding_ctx_length=False,  # it would send numbers of OpenAI's own tokens
    )

    vectors = embeddings.embed_documents(["a cat", "a dog"])

    assert len(vectors) == 2
    assert embeddings.embed_query("a cat") == vectors[0]
