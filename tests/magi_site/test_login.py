"""Sign-in: whoever guesses is slowed down, and shuts nobody else out."""

import logging
import re
from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

pytestmark = pytest.mark.django_db

PASSWORD = "right-horse-battery"
LOGIN = "/admin/login/?next=/admin/"
HERE, THERE = "192.0.2.1", "198.51.100.2"


@pytest.fixture
def admin() -> User:
    return User.objects.create_superuser("admin", password=PASSWORD)


def sign_in(password: str, *, address: str = HERE, username: str = "admin") -> tuple[int, str]:
    """Try it as a client without cookies does; return the status and the page."""
    fields = {"username": username, "password": password}
    answer = Client().post(LOGIN, fields, REMOTE_ADDR=address)
    return answer.status_code, answer.content.decode()


def fail(settings: Settings, **options: str) -> list[int]:
    return [sign_in(f"wrong-{n}", **options)[0] for n in range(settings.AXES_FAILURE_LIMIT)]


def test_too_many_failures_shut_an_account_for_an_address(
    admin: User, settings: Settings
) -> None:
    statuses = fail(settings)

    assert statuses == [200] * (settings.AXES_FAILURE_LIMIT - 1) + [429]
    assert sign_in(PASSWORD)[0] == 429


def test_what_is_answered_says_when_to_try_again(admin: User, settings: Settings) -> None:
    fail(settings)

    answer = Client().post(LOGIN, {"username": "admin", "password": PASSWORD}, REMOTE_ADDR=HERE)

    page = answer.content.decode()
    assert 880 <= int(answer["Retry-After"]) <= 900
    assert re.search(r"Try again in 15 minutes, at \d\d:\d\d UTC", page)


def test_tries_while_it_is_shut_do_not_make_it_longer(admin: User, settings: Settings) -> None:
    fail(settings)
    last = AccessAttempt.objects.latest("attempt_time").attempt_time

    sign_in("another")

    assert AccessAttempt.objects.latest("attempt_time").attempt_time == last


def test_it_opens_again(admin: User, settings: Settings) -> None:
    fail(settings)
    attempts = AccessAttempt.objects.all()
    for attempt in attempts:
        earlier = attempt.attempt_time - settings.AXES_COOLOFF_TIME - timedelta(seconds=1)
        attempts.filter(pk=attempt.pk).update(attempt_time=earlier)

    assert sign_in(PASSWORD)[0] == 302


def test_nobody_is_shut_out_by_failures_from_elsewhere(admin: User, settings: Settings) -> None:
    fail(settings, address=THERE)

    assert sign_in(PASSWORD, address=HERE)[0] == 302


def test_other_accounts_of_an_address_stay_open(admin: User, settings: Settings) -> None:
    User.objects.create_user("operator", password=PASSWORD, is_staff=True)

    fail(settings)

    assert sign_in(PASSWORD, username="operator")[0] == 302


def test_a_sign_in_that_works_forgets_the_failures_before(
    admin: User, settings: Settings
) -> None:
    for _ in range(3):
        for _ in range(settings.AXES_FAILURE_LIMIT - 1):
            sign_in("wrong")
        assert sign_in(PASSWORD)[0] == 302


def test_another_browser_does_not_count_anew(admin: User, settings: Settings) -> None:
    for number in range(settings.AXES_FAILURE_LIMIT):
        fields = {"username": "admin", "password": "wrong"}
        Client(headers={"user-agent": f"browser {number}"}).post(
            LOGIN, fields, REMOTE_ADDR=HERE
        )

    assert sign_in(PASSWORD)[0] == 429


def test_no_password_and_no_name_is_logged_or_kept(
    admin: User, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    # A password in the field for names is what people do by mistake.
    fail(settings)
    sign_in("secret-one", username="secret-two")

    kept = str(list(AccessAttempt.objects.values("get_data", "post_data", "path_info")))
    assert "wrong-" not in caplog.text + kept
    assert "secret-" not in caplog.text + kept
    assert f"a client at {HERE}" in caplog.text
