"""The embedding classifier with the real engine: SmolLM2, pooled, as an embedding model."""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from servers_app.complexity import embedding, examples
from servers_app.complexity.embedding import EmbeddingClassifier
from servers_app.complexity.examples import Example
from servers_app.complexity.prompts import Prompt
from servers_app.complexity.scoring import Scorer
from tests.ports import free_port
from tests.servers_app.test_embedded_engine import ENGINE, ROOT, SMALL, WATCHDOG_S

EXAMPLES = (
    Example("Prove the theorem of Pythagoras, step by step.", "powerful"),
    Example("Good evening!", "fast"),
)


@pytest.fixture(scope="module")
def engine(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve embeddings; yield the address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    flags = ("--embeddings", "--pooling", "mean", "--threads", "1", *SMALL)
    log_path = tmp_path_factory.mktemp("engine") / "log"
    environment = {name: value for name, value in os.environ.items() if "LLAMA" not in name}
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *ENGINE[1:], "--model", str(smollm2), "--port", str(port), *flags],
            cwd=ROOT, env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + WATCHDOG_S
        while True:
            assert process.poll() is None, log_path.read_text(errors="replace")
            assert time.monotonic() < deadline, log_path.read_text(errors="replace")
            with suppress(OSError), urllib.request.urlopen(f"{url}/health"):  # noqa: S310
                break
            time.sleep(0.02)
        yield url
    finally:
        process.kill()
        process.wait(WATCHDOG_S)


class Asking:
    """An `Ask` over HTTP."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __call__(self, path: str, _model: str, body: dict[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(self._post, path, body)

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - http, to the engine above
            self._url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=WATCHDOG_S) as response:  # noqa: S310
            answer: dict[str, Any] = json.load(response)
            return answer


@pytest.fixture(scope="module", autouse=True)
def few_examples() -> Iterator[None]:
    """Use an eighth of the shipped examples: one thread embeds a few a second."""
    few = examples.shipped()[::8]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding, "shipped", lambda: few)
        yield


async def test_real_embeddings_find_the_example_that_is_the_same(engine: str) -> None:
    classifier = EmbeddingClassifier(Asking(engine), "smollm2", EXAMPLES)
    await classifier.prepare()

    for example in EXAMPLES:
        score = await classifier.score(Prompt(text=example.text))

        assert next(iter(score.factors)) == f"{example.tier} (1.00): a relabelled request"


async def test_real_embeddings_tell_a_proof_from_a_greeting(engine: str) -> None:
    classifier = EmbeddingClassifier(Asking(engine), "smollm2", EXAMPLES)
    await classifier.prepare()

    proof = await classifier.score(
        Prompt(text="Prove that the sum of two odd numbers is even.")
    )
    greeting = await classifier.score(Prompt(text="Good morning!"))

    assert proof.value > greeting.value


async def test_a_model_that_decides_nothing_is_left_for_its_embeddings(engine: str) -> None:
    scorer = Scorer("decision", Asking(engine), "smollm2", EXAMPLES)

    for _ in range(WATCHDOG_S * 20):
        await asyncio.sleep(0.05)
        score = await scorer.score(Prompt(text="Good evening!"))
        if score.by == "embedding":
            break

    assert score.by == "embedding"
    assert score.value < 5
    await scorer.close()


async def test_the_engine_refuses_a_decision_by_a_model_that_makes_none(engine: str) -> None:
    body = {"state": "x", "questions": {"q": {"type": "noul", "instructions": "x?"}}}

    with pytest.raises(urllib.error.HTTPError) as refused:
        await Asking(engine)("/v1/systemone", "smollm2", body)

    assert refused.value.code in (404, 501)  # a build without the path, a model without it
    refused.value.close()
