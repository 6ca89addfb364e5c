"""What the REST API answers when something below it fails."""

from django.db import OperationalError

from magi_site.api_errors import exception_handler


def test_a_database_that_is_away_is_said_without_its_address() -> None:
    error = OperationalError("connection to 10.0.0.7 failed: password of magi is wrong")

    answer = exception_handler(error, {})

    assert answer is not None
    assert answer.status_code == 503
    assert answer.data["detail"].startswith("The database does not answer")
    assert "10.0.0.7" not in str(answer.data)
