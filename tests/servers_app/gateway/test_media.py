"""A request brings its media along: no llama-server fetches them for it."""

import json
from typing import Any

import pytest

from servers_app.gateway.bodies import read_model
from servers_app.gateway.errors import InvalidRequestError
from servers_app.gateway.media import refuse_remote_media

PNG = "data:image/png;base64,iVBORw0KGgo="
REMOTE = "http://169.254.169.254/latest/meta-data"


def chat(*parts: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": list(parts)}]}


def refused(body: dict[str, Any] | bytes) -> str:
    """Return which key is named in the refusal; empty if the body passes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        refuse_remote_media(read_model(raw).values)
    except InvalidRequestError as error:
        return error.param or "nothing is named"
    return ""


@pytest.mark.parametrize(
    "url",
    [
        REMOTE,
        "https://example.org/cat.png",
        "HTTP://example.org/cat.png",
        "file:///etc/passwd",
        "file://media/../../etc/passwd",
        "ftp://example.org/x",
        " data:image/png;base64,AA==",
        "/etc/passwd",
        "",
    ],
)
@pytest.mark.parametrize(
    ("form", "key"),
    [
        ({"type": "image_url", "image_url": {"url": "URL"}}, "url"),
        ({"type": "image_url", "image_url": "URL"}, "image_url"),
        ({"type": "input_image", "image_url": "URL"}, "image_url"),
        ({"type": "video_url", "video_url": {"url": "URL"}}, "url"),
        ({"type": "audio_url", "audio_url": "URL"}, "audio_url"),
        ({"type": "input_file", "file_url": "URL"}, "file_url"),
        ({"type": "input_audio", "input_audio": {"url": "URL"}}, "url"),
        ({"type": "image", "source": {"type": "url", "url": "URL"}}, "url"),
        (
            {
                "type": "tool_result",
                "content": [{"type": "image", "source": {"type": "url", "url": "URL"}}],
            },
            "url",
        ),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else value,
)
def test_media_by_address_are_refused(form: Any, key: str, url: str) -> None:
    part = json.loads(json.dumps(form).replace("URL", url))

    assert refused(chat(part)).split(".")[-1] == key


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": REMOTE, "format": "wav"}},
        {"type": "input_video", "input_video": {"data": "file:///x"}},
        {"type": "file", "file": {"file_data": REMOTE}},
    ],
    ids=["audio", "video", "file"],
)
def test_an_address_in_the_place_of_data_is_refused(part: Any) -> None:
    assert refused(chat(part))


def test_responses_of_openai_are_looked_through_as_well() -> None:
    part = {"type": "input_image", "image_url": REMOTE}

    assert refused({"model": "m", "input": [{"role": "user", "content": [part]}]})
    assert refused({"model": "m", "input": [part]})


@pytest.mark.parametrize(
    "part",
    [
        rb'{"image\u005furl": {"ur\u006c": "http:\/\/x"}}',
        rb'{"image_url": {"url": "\u0068ttp://x"}}',
        rb'{"input\u005faudio": {"data": "http://x"}}',
        rb'{"image_url": {"url": "data:,", "url": "http://x"}}',
    ],
    ids=["a key", "a value", "audio", "twice"],
)
def test_escapes_and_repetition_hide_nothing(part: bytes) -> None:
    assert refused(b'{"model": "m", "messages": [{"content": [%s]}]}' % part)


@pytest.mark.parametrize(
    "body",
    [
        chat({"type": "text", "text": 'What is at http://x? {"image_url": "http://x"}'}),
        chat({"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}),
        chat({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}),
        chat({"type": "image", "source": {"type": "base64", "data": "iVBO"}}),
        {"model": "m", "input": [{"type": "input_image", "image_url": PNG}]},
        {"model": "m", "messages": [], "metadata": {"url": "https://example.org"}},
        {
            "model": "m",
            "messages": [],
            "tools": [{"type": "mcp", "url": "https://x"}],
        },
        {"model": "m", "messages": [{"content": "\u00e9\u4e2d"}]},
    ],
    ids=["text", "image", "audio", "anthropic", "responses", "metadata", "tools", "escapes"],
)
def test_what_comes_with_the_request_passes(body: dict[str, Any]) -> None:
    assert refused(body) == ""


@pytest.mark.parametrize("depth", [65, 900, 100_000])
def test_a_body_is_not_nested_without_end(depth: int) -> None:
    body = b'{"model": "m", "x": ' + b"[" * depth + b"]" * depth + b"}"

    with pytest.raises(InvalidRequestError, match="nested too deeply"):
        read_model(body)


def test_many_brackets_beside_each_other_are_not_deep() -> None:
    body = json.dumps({"model": "m", "x": [[{}] * 10] * 1000}).encode()

    assert read_model(body).value == "m"
