"""What no honest client sends about models: it is refused in words, and nothing changes."""

import json
from typing import Any

import pytest
from django.test import Client

from models_app.models import DiscoveredModel
from models_app.nesting import MAX_DEPTH
from tests.conftest import MakeModel, MakeProfile

pytestmark = pytest.mark.django_db

IDS = {
    "a NUL": "%00",
    "a NUL in it": "m%00m",
    "bytes that are no UTF-8": "%FF%FE",
    "half a character": "%ED%A0%80",
    "a line break": "m%0d%0aX-Evil:%201",
    "too long for a column": "q" * 201,
    "very long": "q" * 20_000,
    "a pattern": "%25",
    "a statement": "m'%3B%20DROP%20TABLE%20models_app_discoveredmodel%3B--",
    "a template": "{{7*7}}",
    "a folder above": "..%2f..%2fetc%2fpasswd",
    "dots": "%2e%2e",
    "another plane": "%F0%9F%92%A9",
    "right to left": "%E2%80%AE",
}
BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "no UTF-8": b'{"tier": "\xff\xfe", "thinking": "\xff"}',
    "an array": b"[]",
    "an array of what is asked for": b'[{"tier": "fast", "thinking": true, "enabled": true}]',
    "a number": b"1e400",
    "a number of many digits": b'{"tier": ' + b"9" * 10_000 + b"}",
    "no number": b'{"tier": NaN, "thinking": NaN, "enabled": NaN}',
    "a NUL": rb'{"tier": "fa\u0000st", "thinking": "\u0000", "enabled": "\u0000"}',
    "half a character": rb'{"tier": "\ud800", "thinking": "\ud800", "enabled": "\ud800"}',
    "an object": b'{"tier": {"a": {}}, "thinking": {}, "enabled": {}}',
    "deep": b'{"tier": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "a little too deep": b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    "a key of the database": b'{"model_id": "x", "file_path": "/etc/passwd", "port": 1}',
}
QUERIES = {
    "a NUL": "q=%00",
    "a NUL in a family": "family=a%00b",
    "bytes that are no UTF-8": "q=%FF",
    "half a character": "family=%ED%A0%80",
    "a long text": "q=" + "x" * 5000,
    "a NUL for a tier": "tier=%00",
    "a huge page": "page=" + "9" * 5000,
    "a negative page": "page=-1",
    "no page": "page=NaN",
    "a huge size of a page": "page_size=" + "9" * 30,
    "another column": "ordering=metadata",
    "a column of a relation": "ordering=root__path",
    "an unknown parameter with a NUL": "%00=1",
    "an unknown parameter with half a character": "%ED%A0%80=1",
    "a thousand parameters": "&".join(f"p{number}=1" for number in range(900)),
    "a lookup": "family__regex=(a%2B)%2B$",
    "a tier that is a list": "tier[]=fast",
}


@pytest.fixture(autouse=True)
def model(make_model: MakeModel, make_profile: MakeProfile) -> DiscoveredModel:
    make_profile("mine", is_active=True)
    return make_model("m")


def refused(response: Any) -> Any:
    """Check that an answer is a refusal in JSON, and return its status and sentence."""
    assert 400 <= response.status_code < 500, response.content
    detail = json.loads(response.content)["detail"]
    assert isinstance(detail, str)
    assert detail
    return response.status_code, detail


@pytest.mark.parametrize("model_id", IDS.values(), ids=IDS)
@pytest.mark.parametrize(
    ("method", "what", "body"),
    [
        ("get", "", None),
        ("put", "/tier", {"tier": "powerful"}),
        ("put", "/thinking", {"thinking": True}),
        ("put", "/enabled", {"enabled": True}),
    ],
)
def test_an_id_that_nobody_has_is_not_found(
    client: Client, method: str, what: str, body: Any, model_id: str
) -> None:
    call = getattr(client, method)

    response = call(f"/api/models/{model_id}{what}", body, content_type="application/json")

    status, detail = refused(response)
    assert status == 404
    assert len(detail) < 1000


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("what", ["tier", "thinking", "enabled"])
def test_a_body_that_cannot_be_used_is_refused_and_changes_nothing(
    client: Client, model: DiscoveredModel, what: str, body: bytes
) -> None:
    before = DiscoveredModel.objects.values().get()

    response = client.put(f"/api/models/m/{what}", body, content_type="application/json")

    assert refused(response)[0] == 400
    assert DiscoveredModel.objects.values().get() == before
    assert client.get("/api/models/m").json()["enabled"] is False


@pytest.mark.parametrize("type_", ["text/plain", "application/x-www-form-urlencoded", "x"])
def test_a_form_of_another_page_changes_nothing(client: Client, type_: str) -> None:
    response = client.put("/api/models/m/tier", '{"tier": "powerful"}', content_type=type_)

    assert refused(response)[0] == 415
    assert DiscoveredModel.objects.get().tier_override == ""


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
@pytest.mark.parametrize("path", ["registry", "tiers/fast"])
def test_a_query_that_cannot_be_used_is_answered_all_the_same(
    client: Client, path: str, query: str
) -> None:
    response = client.get(f"/api/models/{path}?{query}")

    if response.status_code != 200:
        assert refused(response)[0] == 400
    else:  # what is no character of a name is looked for, and found nowhere
        body = response.json()
        assert (body["models"] if path == "registry" else body) in ({}, [])


@pytest.mark.parametrize("tier", IDS.values(), ids=IDS)
def test_a_tier_that_is_none_is_refused(client: Client, tier: str) -> None:
    status, detail = refused(client.get(f"/api/models/tiers/{tier}"))

    assert status in {400, 404}  # 404 where it has a slash in it
    assert len(detail) < 1000


@pytest.mark.parametrize("task_id", [*IDS.values(), "1", "1" * 32 + "z"])
def test_a_task_that_has_no_id_is_not_found(client: Client, task_id: str) -> None:
    assert refused(client.get(f"/api/tasks/{task_id}"))[0] == 404


@pytest.mark.parametrize("wait", ["%00", "%FF", "9" * 5000, "1e999", "-0.1", "0x10", ""])
def test_a_wait_that_is_none_is_refused_before_anybody_is_asked(
    client: Client, wait: str
) -> None:
    assert refused(client.post(f"/api/models/rescan?wait={wait}"))[0] == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "registry"),
        ("delete", "m"),
        ("put", "m"),
        ("patch", "m/tier"),
        ("get", "m/tier"),
        ("put", "tiers/fast"),
        ("get", "rescan"),
    ],
)
def test_a_method_that_there_is_not_is_refused(client: Client, method: str, path: str) -> None:
    assert refused(getattr(client, method)(f"/api/models/{path}"))[0] == 405
