"""What the REST API answers when something below it fails."""

import pytest
from django.db import OperationalError
from django.test import Client

from magi_site.api_errors import exception_handler


def test_a_database_that_is_away_is_said_without_its_address() -> None:
    error = OperationalError("connection to 10.0.0.7 failed: password of magi is wrong")

    answer = exception_handler(error, {})

    assert answer is not None
    assert answer.status_code == 503
    assert answer.data["detail"].startswith("The database does not answer")
    assert "10.0.0.7" not in str(answer.data)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("/api/query", r'{"query": "Hello", "\ud800": 1}', id="a key"),
        pytest.param(
            "/api/models/recommendations/profile",
            r'{"name": "Mine", "node": "\ud800"}',
            id="a value",
        ),
    ],
)
def test_half_a_character_that_a_refusal_quotes_is_no_failure(
    client: Client, path: str, body: str
) -> None:
    answer = client.post(path, body, content_type="application/json")

    assert 400 <= answer.status_code < 500
    assert answer.json()["detail"]
