"""What the calls under /ai/ refuse has the same shape as what they answer."""

from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from magi_site.guard import refusal
from servers_app import apikeys
from servers_app.apikey_models import Scope
from tests.servers_app.manager.conftest import Call

pytestmark = pytest.mark.django_db(transaction=True)


def check_failure(answer: Any, status: int, code: str) -> None:
    body = answer.json()
    assert answer.status_code == status
    assert set(body) == {"success", "error", "code", "message", "timestamp"}
    assert (body["success"], body["code"]) == (False, code)
    assert body["error"] == body["message"]


def test_whoever_may_not_call_is_told_in_the_same_shape(ask: Call, settings: Settings) -> None:
    settings.MAGI_API_AUTH = "required"
    secret = apikeys.new_key("reader", scopes=[Scope.READ]).secret
    key = {"Authorization": f"Bearer {secret}"}

    check_failure(ask("model-status"), 401, "not_authenticated")
    assert ask("model-status", **key).status_code == 200
    check_failure(ask("switch-model", {"model_name": "a"}, **key), 403, "permission_denied")


def test_what_cannot_be_read_is_refused_in_the_same_shape(client: Client) -> None:
    url, as_json = "/ai/switch-model", "application/json"

    check_failure(client.get(url), 405, "method_not_allowed")
    check_failure(client.post(url, "{", content_type=as_json), 400, "parse_error")
    check_failure(
        client.post(url, "<a/>", content_type="text/xml"), 415, "unsupported_media_type"
    )
    check_failure(client.post(f"{url}?wait=soon", {}, content_type=as_json), 400, "invalid")
    check_failure(client.get("/ai/nothing"), 404, "not_found")
    check_failure(client.get("/ai/"), 404, "not_found")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param('{"model_name": "a", "contexts": [5, "x"]}', "contexts[1]: ", id="in it"),
        pytest.param('{"model_name": "a", "\\ud800": 1}', "\\ud800", id="half a character"),
        pytest.param("[]", "the body: ", id="a list"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(client: Client, body: str, said: str) -> None:
    answer = client.post("/ai/benchmark-model", body, content_type="application/json")

    check_failure(answer, 400, "invalid")
    assert said in answer.json()["error"]


def test_a_page_of_another_site_is_refused_in_the_same_shape() -> None:
    scope = {
        "path": "/ai/switch-model",
        "method": "POST",
        "headers": [(b"host", b"localhost"), (b"origin", b"https://evil.example")],
    }

    assert refusal(scope) is not None
