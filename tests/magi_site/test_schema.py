"""The OpenAPI document: whole, and with what a caller needs to know of each call."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from pytest_django import Settings

from magi_site.api_docs import document
from profiles_app.profile_schema import RUN_SETTINGS
from profiles_app.runsettings import FIELDS
from tests.api.document import check

DOCUMENTED = ("api/", "ai/")
METHODS = {"get", "post", "put", "patch", "delete"}
FOR_ALL = "/health"

Operation = dict[str, Any]


def operations() -> Iterator[tuple[str, str, Operation]]:
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            assert method in METHODS
            yield path, method, operation


def views(patterns: list[Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from views(pattern.url_patterns, before + str(pattern.pattern))
        elif isinstance(pattern, URLPattern):
            yield before + str(pattern.pattern), pattern.callback


def test_it_is_made_without_a_warning_and_is_valid_openapi() -> None:
    GENERATOR_STATS.reset()

    made = SchemaGenerator().get_schema(public=True)

    validate_schema(made)
    assert not GENERATOR_STATS._warn_cache
    assert not GENERATOR_STATS._error_cache


def test_every_call_of_every_view_is_in_it() -> None:
    paths = document()["paths"]
    for route, view in views(get_resolver().url_patterns):
        if not route.startswith(DOCUMENTED):
            continue
        path = "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)
        offered = {method for method in METHODS if hasattr(view.cls, method)}
        assert offered == paths[path].keys(), path


@pytest.mark.parametrize(
    "path",
    [
        "/api/events",
        "/api/models/servers/{model_id}/logs",
        "/health",
        "/v1/chat/completions",
        "/v1/models",
    ],
)
def test_what_django_does_not_answer_is_in_it(path: str) -> None:
    assert path in document()["paths"]


def test_every_call_says_who_may_make_it_and_how_it_is_refused() -> None:
    for path, method, operation in operations():
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["operationId"], where
        assert operation["tags"][0] in {tag["name"] for tag in document()["tags"]}, where
        if path == FOR_ALL:
            continue
        assert {"session": []} in operation["security"], where
        assert {"key"} in map(set, operation["security"]), where
        assert {"400", "401", "403", "429"} <= operation["responses"].keys(), where


def test_every_answer_in_json_has_an_example_that_is_as_its_schema_says() -> None:
    for path, method, operation in operations():
        for status, response in operation["responses"].items():
            media = response.get("content", {}).get("application/json")
            if media is None or path in {"/api/schema/", *_relayed()}:
                continue
            examples = [each["value"] for each in media.get("examples", {}).values()]
            examples += [media["example"]] if "example" in media else []
            assert examples, f"{method} {path} {status}"
            for example in examples:
                check(media["schema"], example)


def _relayed() -> set[str]:
    """Return the calls whose answer is the engine's."""
    return {path for path, method, _ in operations() if path[:4] == "/v1/" and method == "post"}


def test_no_operation_id_is_there_twice() -> None:
    ids = [operation["operationId"] for _, _, operation in operations()]

    assert len(ids) == len(set(ids))


def test_every_run_setting_is_in_it() -> None:
    assert RUN_SETTINGS.keys() == FIELDS.keys()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "accept", "media_type"),
    [
        ("", "*/*", "application/json"),
        ("", "application/yaml", "application/yaml; charset=utf-8"),
        ("?format=yaml", "*/*", "application/yaml; charset=utf-8"),
    ],
)
def test_it_is_served_as_json_and_as_yaml(
    client: Client, query: str, accept: str, media_type: str
) -> None:
    answer = client.get(f"/api/schema/{query}", headers={"accept": accept})

    assert answer["Content-Type"] == media_type
    read = json.loads if "json" in media_type else yaml.safe_load
    assert read(answer.content)["paths"] == json.loads(json.dumps(document()["paths"]))


@pytest.mark.django_db
def test_the_page_has_nothing_of_another_site_and_nothing_inline(client: Client) -> None:
    page = client.get("/api/docs/").content.decode()

    assert "//" not in page.replace("<!--", "")
    assert not re.search(r"<script(?! src=)|<style|\son\w+=|style=", page)
    for name in re.findall(r'(?:src|href)="/static/([^"]+)"', page):
        assert finders.find(name), name


@pytest.mark.django_db
def test_who_is_signed_in_finds_the_token_that_changes_need(admin_client: Client) -> None:
    page = admin_client.get("/api/docs/").content.decode()

    assert re.search(r'data-csrf-token="\w{64}"', page)


@pytest.mark.django_db
def test_where_keys_are_needed_a_browser_is_sent_to_sign_in_and_others_are_told(
    client: Client, settings: Settings
) -> None:
    settings.MAGI_API_AUTH = "required"

    browser = client.get("/api/docs/", headers={"accept": "text/html,*/*;q=0.8"})
    paths = ("/api/docs/", "/api/schema/", "/api/schema/?format=yaml")
    others = [client.get(path) for path in paths]

    assert browser.status_code == 302
    assert browser["Location"] == "/admin/login/?next=/api/docs/"
    for answer in others:
        assert answer.status_code == 401
        assert "key" in answer.json()["detail"]


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/api/nothing", "/ai/nothing", "/api/tasks/no-uuid"])
def test_a_path_that_is_not_there_is_told_in_json(client: Client, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 404
    said = answer.json()
    assert path in (said["error"] if path.startswith("/ai/") else said["detail"])


@pytest.mark.django_db
def test_a_page_that_is_not_there_is_a_page(client: Client) -> None:
    assert client.get("/nothing")["Content-Type"].startswith("text/html")
