"""Usage in the admin: what is added up, by day and by hour, and its CSV."""

import csv
from collections.abc import Iterable
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import AsyncClient, Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from servers_app import usage
from servers_app.apikeys import new_key
from servers_app.request_models import UsageMinute
from servers_app.usage import By, usage_of

pytestmark = pytest.mark.django_db

USAGE = reverse("admin:servers_app_usageminute_changelist")
MINUTES = reverse("admin:servers_app_usageminute_minutes")
CSV = reverse("admin:servers_app_usageminute_csv")


def now() -> datetime:
    return timezone.now().replace(second=0, microsecond=0)


def make_minute(minute: datetime | None = None, **fields: Any) -> UsageMinute:
    values = {"model_id": "qwen", "tier": "fast", "requests": 1, **fields}
    return UsageMinute.objects.create(minute=minute or now(), **values)


def client_of(*permissions: str) -> Client:
    user = User.objects.create_user("bob", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def rows(client: Client, **query: str) -> list[dict[str, str]]:
    response = client.get(CSV, query)
    content: Iterable[bytes] = response.streaming_content  # type: ignore[attr-defined]
    return list(csv.DictReader(StringIO(b"".join(content).decode(), newline="")))


# -- what is added up


def test_each_day_has_what_came_in_it(settings: Settings) -> None:
    settings.TIME_ZONE = "Pacific/Auckland"
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    make_minute(midnight, requests=2)
    make_minute(midnight - timedelta(minutes=1), requests=3)
    make_minute(midnight - timedelta(days=13), requests=5)
    make_minute(midnight - timedelta(days=13, minutes=1), requests=7)  # before the first

    summed = usage_of(14, By.MODEL)

    requests = [part["qwen"].requests if part else 0 for part in summed.parts]
    assert requests == [5, *[0] * 11, 3, 2]
    assert summed.total.requests == 10


def test_a_day_is_shown_by_its_hours() -> None:
    make_minute()
    make_minute(now() - timedelta(hours=5), requests=4)
    make_minute(now() - timedelta(hours=25))

    summed = usage_of(1, By.MODEL)

    assert len(summed.stretches) == 24
    assert (summed.parts[23]["qwen"].requests, summed.parts[18]["qwen"].requests) == (1, 4)
    assert summed.total.requests == 5


def test_a_chart_names_the_largest_and_adds_the_others_up() -> None:
    for number in range(1, 8):
        make_minute(model_id=f"m{number}", key=f"k{number % 2}", requests=number)

    by_model, by_key = usage_of(14, By.MODEL), usage_of(14, By.KEY)

    assert by_model.top == ["m7", "m6", "m5", "m4"]
    assert by_model.parts[-1][usage.REST].requests == 1 + 2 + 3
    assert by_key.top == ["k1", "k0"]
    assert [(line.name, line.sums.requests) for line in by_key.by_key] == [
        ("k1", 16),
        ("k0", 12),
    ]


def test_a_table_of_many_lines_ends_with_the_sum_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(usage, "LISTED", 2)
    for number in range(1, 6):
        make_minute(key=f"k{number}", requests=number)

    lines = [(line.name, line.sums.requests) for line in usage_of(14, By.MODEL).by_key]

    assert lines == [("k5", 5), ("k4", 4), (usage.REST, 6)]


def test_means_are_of_what_they_can_be_of(admin_client: Client) -> None:
    make_minute(
        requests=4, failures=1, answered=2, first_byte_ms=100, total_ms=8000,
        prompt_tokens=200, cached_tokens=50, completion_tokens=40,
    )  # fmt: skip
    make_minute(model_id="silent", requests=1, failures=1)

    page = admin_client.get(USAGE).content.decode()

    for text in ("50 ms", "2 s", "25.0 %", "5.0", "40.0 %"):
        assert f">{text}<" in page, text


# -- its page


def test_keys_are_shown_by_name_and_lead_to_their_requests(admin_client: Client) -> None:
    key = new_key("nightly build").key
    make_minute(key=key.prefix)
    make_minute(model_id="")

    page = admin_client.get(USAGE, {"by": "key"}).content.decode()

    assert "nightly build" in page
    assert f"requestrecord/?q={key.prefix}" in page
    assert "no model" in page


def test_what_nobody_offers_is_as_if_it_was_not_said(admin_client: Client) -> None:
    make_minute()

    response = admin_client.get(USAGE, {"days": "100000", "by": "moon"})

    assert len(response.context["usage"].stretches) == usage.DEFAULT_DAYS


def test_no_usage_says_how_to_make_some(admin_client: Client) -> None:
    page = admin_client.get(USAGE).content.decode()

    assert "No request in 14 days" in page
    assert "curl http://testserver/v1/chat/completions" in page


def test_the_minutes_have_a_page_of_their_own(admin_client: Client) -> None:
    make_minute()

    page = admin_client.get(MINUTES)

    assert len(page.context["cl"].result_list) == 1
    assert MINUTES in admin_client.get(USAGE).content.decode()


def test_nobody_adds_changes_or_deletes_a_minute(admin_client: Client) -> None:
    minute, name = make_minute(), "admin:servers_app_usageminute"

    assert admin_client.get(reverse(f"{name}_add")).status_code == 403
    assert admin_client.post(reverse(f"{name}_delete", args=[minute.pk])).status_code == 403
    page = admin_client.get(reverse(f"{name}_change", args=[minute.pk])).content.decode()
    assert "_save" not in page


@pytest.mark.parametrize("url", [USAGE, MINUTES, CSV])
def test_who_may_not_look_sees_nothing(url: str) -> None:
    assert client_of("view_server").get(url).status_code == 403


@pytest.mark.parametrize("url", [USAGE, MINUTES, CSV])
def test_who_may_look_sees_it(url: str) -> None:
    assert client_of("view_usageminute").get(url).status_code == 200


def test_much_usage_costs_a_few_queries(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    UsageMinute.objects.bulk_create(
        UsageMinute(minute=now() - timedelta(hours=n), model_id=f"m{n % 9}", key=f"k{n % 70}")
        for n in range(1000)
    )

    with django_assert_max_num_queries(7):
        admin_client.get(USAGE, {"days": "90"})


# -- as CSV


def test_the_csv_has_what_was_chosen(admin_client: Client) -> None:
    key = new_key("laptop").key
    for hours in (0, 1, 30):
        make_minute(
            now() - timedelta(hours=hours), key=key.prefix, requests=2, answered=2,
            first_byte_ms=100, total_ms=3000, completion_tokens=30,
        )  # fmt: skip

    hourly = rows(admin_client, days="1", by="key")
    daily = rows(admin_client, days="30", by="model")

    assert [row["Name of the key"] for row in hourly] == ["laptop", "laptop"]
    assert hourly[0]["Asked by"] == key.prefix
    start, end = (datetime.fromisoformat(hourly[-1][name]) for name in ("From", "To"))
    assert start <= now() < end == start + timedelta(hours=1)
    assert hourly[-1]["Mean time to the first byte (ms)"] == "50.0"
    assert hourly[-1]["Tokens out per second"] == "10.0"
    assert {row["Model"] for row in daily} == {"qwen"}
    assert sum(int(row["Requests"]) for row in daily) == 6


def test_the_csv_is_a_file_to_keep(admin_client: Client) -> None:
    response = admin_client.get(CSV, {"days": "90", "by": "key"})

    assert response["Content-Type"].startswith("text/csv")
    assert "attachment" in response["Content-Disposition"]
    assert "90-days-by-key" in response["Content-Disposition"]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_no_cell_is_a_formula(admin_client: Client, name: str) -> None:
    make_minute(model_id=name, key=name)

    (by_model,), (by_key,) = rows(admin_client, by="model"), rows(admin_client, by="key")

    assert by_model["Model"] == f"'{name}"
    assert by_key["Asked by"] == f"'{name}"


@pytest.mark.django_db(transaction=True)
async def test_the_web_server_sends_the_csv_as_it_is_read(admin_user: User) -> None:
    await UsageMinute.objects.acreate(minute=now(), model_id="qwen", requests=3)
    client = AsyncClient()
    await client.aforce_login(admin_user)

    response = await client.get(CSV)
    text = b"".join([piece async for piece in response]).decode()  # type: ignore[attr-defined]

    assert response.is_async  # type: ignore[attr-defined]
    assert "qwen,3," in text
