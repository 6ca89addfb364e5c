"""curl, with the commands of docs/clients.md."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.serving import (
    CHAT,
    EMBEDDER,
    ENDLESS,
    IDLE_PAUSE_S,
    PATIENCE_S,
    Engine,
    until,
)

CURL = shutil.which("curl") or ""
pytestmark = pytest.mark.skipif(not CURL, reason="curl is not installed")

JSON = ("--header", "Content-Type: application/json")


def curl(*arguments: str) -> bytes:
    command = [CURL, "--silent", "--show-error", "--max-time", str(PATIENCE_S), *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout


def body(**fields: object) -> str:
    return json.dumps({"messages": [{"role": "user", "content": "Say hello."}]} | fields)


def keys(value: Any) -> Any:
    """Return the names in an answer, without what they stand for."""
    if isinstance(value, dict):
        return {name: keys(inner) for name, inner in value.items()}
    return [keys(value[0])] if isinstance(value, list) and value else None


def test_curl_lists_models(gateway_url: str) -> None:
    answer = json.loads(curl(f"{gateway_url}/v1/models"))

    assert {CHAT, EMBEDDER} <= {card["id"] for card in answer["data"]}


def test_an_answer_has_every_field_of_the_engines_own(
    gateway_url: str, chat_engine: Engine
) -> None:
    asked = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}

    answer = curl(*JSON, "-d", body(model=CHAT, **asked), f"{gateway_url}/v1/chat/completions")

    _status, direct = chat_engine.ask("/v1/chat/completions", asked)
    assert keys(json.loads(answer)) == keys(direct)


def test_curl_streams_events(gateway_url: str) -> None:
    answer = curl(
        "--no-buffer",
        *JSON,
        "-d",
        body(model=CHAT, max_tokens=4, stream=True),
        f"{gateway_url}/v1/chat/completions",
    )

    events = [line for line in answer.decode().splitlines() if line]
    assert all(line.startswith("data: ") for line in events)
    assert events[-1] == "data: [DONE]"


def test_curl_gets_the_status_and_the_reason(gateway_url: str) -> None:
    url = f"{gateway_url}/v1/completions"

    answer = curl(*JSON, "-d", body(model="gpt-4o"), "-w", "\n%{http_code}", url)

    said, status = answer.decode().rsplit("\n", 1)
    assert status == "404"
    assert json.loads(said)["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    "framing",
    [
        pytest.param("Expect: 100-continue", id="that asks first"),
        pytest.param("Transfer-Encoding: chunked", id="in chunks"),
    ],
)
def test_curl_uploads_20_mb(gateway_url: str, tmp_path: Path, framing: str) -> None:
    upload = tmp_path / "body.json"
    upload.write_text(body(model=CHAT, max_tokens=2, padding="a" * 20_000_000))

    answer = curl(
        *JSON,
        "--header",
        framing,
        "--data-binary",
        f"@{upload}",
        f"{gateway_url}/v1/chat/completions",
    )

    assert json.loads(answer)["usage"]["completion_tokens"] == 2


def test_a_curl_that_is_interrupted_frees_the_slot(
    gateway_url: str, chat_engine: Engine
) -> None:
    asked = body(model=CHAT, **ENDLESS)
    url = f"{gateway_url}/v1/chat/completions"
    process = subprocess.Popen(
        [CURL, "--silent", *JSON, "-d", asked, url], stdout=subprocess.PIPE
    )
    until(lambda: not chat_engine.is_idle)

    process.terminate()
    process.communicate()

    until(lambda: chat_engine.is_idle, pause_s=IDLE_PAUSE_S)
