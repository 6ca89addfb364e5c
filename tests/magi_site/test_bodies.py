"""Bodies that are too large or too deep are refused, and none is kept whole to find out."""

from collections.abc import Iterator

import pytest
from django.test import Client

from magi_site import bodies
from magi_site.bodies import with_bounded_body
from servers_app.gateway.asgi import Receive, Scope, Send
from tests.magi_site.asgi_calls import call

PIECE = b"x" * 2**16


async def echo_size(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the size of the body, as the application behind saw it."""
    size_bytes, has_more = 0, True
    while has_more:
        message = await receive()
        size_bytes += len(message["body"])
        has_more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size_bytes).encode()})


async def bounded(scope: Scope, receive: Receive, send: Send) -> None:
    await with_bounded_body(echo_size, scope, receive, send)


async def test_a_body_within_the_bound_arrives_whole() -> None:
    answer = await call(bounded, "POST", "/api/x", body=[PIECE] * 3)

    assert (answer.status, answer.body) == (200, b"196608")


@pytest.mark.parametrize(
    ("path", "most"), [("/api/x", 2_621_440), ("/ai/x", 2_621_440), ("/admin/x", 4_194_304)]
)
async def test_a_body_that_says_it_is_too_large_is_not_read(path: str, most: int) -> None:
    answer = await call(bounded, "POST", path, {"content-length": str(most + 1)})

    assert answer.status == 413
    assert f"The body is larger than the {most} bytes".encode() in answer.body


@pytest.mark.django_db
def test_what_is_let_through_is_not_too_large_for_a_call(client: Client) -> None:
    most = bodies.most_bytes("/api/models/profiles")

    answer = client.post("/api/models/profiles", "x" * most, content_type="application/json")

    assert answer.status_code == 400
    assert "JSON parse error" in answer.json()["detail"]


async def test_a_body_that_does_not_say_is_read_no_further_than_the_bound() -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield PIECE

    answer = await call(bounded, "POST", "/api/x", body=endless())

    assert answer.status == 413
    assert taken * len(PIECE) <= bodies.MAX_BODY_BYTES + 2 * len(PIECE)


@pytest.mark.django_db
@pytest.mark.parametrize("opener", ["[", '{"a":'], ids=["arrays", "objects"])
@pytest.mark.parametrize("depth", [70, 990, 100_000])
def test_a_body_of_json_is_not_nested_without_end(
    client: Client, opener: str, depth: int
) -> None:
    closer = "]" if opener == "[" else "}"
    body = opener * depth + "1" + closer * depth

    answer = client.post("/api/models/profiles", body, content_type="application/json")

    assert answer.status_code == 400
    assert "nested" in answer.json()["detail"]


@pytest.mark.django_db
def test_a_form_with_too_many_fields_is_refused(client: Client) -> None:
    fields = {f"field{number}": "x" for number in range(10_001)}

    assert client.post("/admin/login/", fields).status_code == 400
