"""The request log and usage in the admin: what is shown, who may label, what a page costs."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from servers_app import request_admin
from servers_app.apikeys import new_key, revoke
from servers_app.request_models import RequestRecord, UsageMinute
from tests.conftest import MakeModel, MakeServer

pytestmark = pytest.mark.django_db

LIST = reverse("admin:servers_app_requestrecord_changelist")
USAGE = reverse("admin:servers_app_usageminute_changelist")


def make_record(request_id: str = "request-1", **fields: Any) -> RequestRecord:
    values: dict[str, Any] = {
        "at": timezone.now(),
        "path": "/v1/chat/completions",
        "asked": "auto",
        "model_id": "qwen",
        "outcome": "ok",
        **fields,
    }
    return RequestRecord.objects.create(request_id=request_id, **values)


def client_of(*permissions: str) -> Client:
    user = User.objects.create_user("bob", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def page_of(client: Client, record: RequestRecord) -> str:
    url = reverse("admin:servers_app_requestrecord_change", args=[record.pk])
    return client.get(url).content.decode()


def listed(client: Client, **query: str) -> list[str]:
    cl = client.get(LIST, query).context["cl"]
    return sorted(record.request_id for record in cl.result_list)


def label(client: Client, action: str, *records: RequestRecord) -> int:
    ticked = {"action": action, "_selected_action": [record.pk for record in records]}
    return client.post(LIST, ticked).status_code


# -- what is shown


def test_the_list_shows_the_figures_as_people_read_them(admin_client: Client) -> None:
    make_record(
        tier="balanced",
        score=4.25,
        queued_ms=0.42,
        first_byte_ms=85.4,
        total_ms=3210,
        prompt_tokens=12345,
        cached_tokens=12000,
        completion_tokens=678,
    )
    make_record("request-2", outcome="failed", error_code="upstream_error")

    page = admin_client.get(LIST).content.decode()

    for text in ("Balanced 4.2", "12,345 (12,000) / 678", "0.4 ms", "85 ms", "3.2 s"):
        assert text in page
    assert '<span class="magi-badge magi-failed">Failed</span> upstream_error' in page


def test_the_page_shows_what_made_the_score_the_greatest_first(admin_client: Client) -> None:
    record = make_record(
        score=6.5, scored_by="heuristic", factors={"length": 0.5, "code": 3, "<b>": -1}
    )

    page = page_of(admin_client, record)

    assert "6.5 of 10, by heuristic" in page
    order = [page.index(text) for text in (">code<", ">&lt;b&gt;<", ">length<")]
    assert order == sorted(order)


def test_what_was_not_kept_or_scored_is_said_so(admin_client: Client) -> None:
    page = page_of(admin_client, make_record())

    assert "MAGI_KEEP_PROMPTS was off" in page
    assert "It was not looked at" in page


def test_a_prompt_is_shown_as_text(admin_client: Client) -> None:
    page = page_of(admin_client, make_record(prompt="<script>alert(1)</script>"))

    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page


def test_filters_find_requests(
    admin_client: Client, make_model: MakeModel, make_server: MakeServer
) -> None:
    make_server(make_model("qwen"))
    make_record("a", tier="fast")
    make_record("b", model_id="gemma", outcome="broken")
    make_record("c", path="/v1/embeddings", label="powerful")
    make_record("d", at=timezone.now() - timedelta(days=3))

    assert listed(admin_client, model="qwen") == ["a", "c", "d"]
    assert listed(admin_client, outcome__exact="broken") == ["b"]
    assert listed(admin_client, path="/v1/embeddings") == ["c"]
    assert listed(admin_client, tier__exact="fast") == ["a"]
    assert listed(admin_client, label="powerful") == ["c"]
    assert listed(admin_client, label="any") == ["c"]
    assert listed(admin_client, label="fast") == []
    yesterday = (timezone.now() - timedelta(days=1)).isoformat()
    assert listed(admin_client, at__gte=yesterday) == ["a", "b", "c"]


def test_who_asked_is_shown_by_the_name_of_their_key(admin_client: Client) -> None:
    key = new_key("nightly build").key
    make_record("by-key", key=key.prefix)
    make_record("by-nobody", key="10.0.0.7")
    revoke(key)  # the log still says whose it was

    page = admin_client.get(LIST).content.decode()

    assert f'<span title="{key.prefix}">nightly build</span>' in page
    assert "10.0.0.7" in page
    assert listed(admin_client, q="nightly build") == ["by-key"]
    assert listed(admin_client, q=key.prefix) == ["by-key"]
    assert listed(admin_client, q="10.0.0.7") == ["by-nobody"]


@pytest.mark.parametrize(
    ("term", "found"),
    [("request-1", ["request-1"]), (" k7 ", ["request-2"]), ("request", [])],
)
def test_a_search_takes_the_whole_id_of_a_request_or_of_a_key(
    admin_client: Client, term: str, found: list[str]
) -> None:
    make_record()
    make_record("request-2", key="k7")

    assert listed(admin_client, q=term) == found


def test_usage_is_shown_by_minute_and_added_up_by_day(admin_client: Client) -> None:
    now = timezone.now().replace(second=0, microsecond=0)
    for minute, model_id in ((now, "qwen"), (now - timedelta(days=1), "qwen"), (now, "gemma")):
        UsageMinute.objects.create(
            minute=minute, model_id=model_id, tier="fast", requests=4, answered=2,
            first_byte_ms=100, total_ms=8000, prompt_tokens=10,
        )  # fmt: skip

    response = admin_client.get(USAGE)

    assert [day["requests"] for day in response.context["days"]] == [8, 4]
    page = response.content.decode()
    assert "50 ms" in page
    assert "2 s" in page
    assert "By day" in page


# -- who may say what


def test_labels_are_given_and_taken_back_for_many(admin_client: Client) -> None:
    records = [make_record("a"), make_record("b"), make_record("c")]

    label(admin_client, "label_powerful", *records[:2])
    label(admin_client, "label_fast", records[2])
    label(admin_client, "take_label_back", records[1])

    labels = dict(RequestRecord.objects.values_list("request_id", "label"))
    assert labels == {"a": "powerful", "b": "", "c": "fast"}


def test_on_its_page_the_label_is_all_that_changes(admin_client: Client) -> None:
    record = make_record(score=5)
    url = reverse("admin:servers_app_requestrecord_change", args=[record.pk])

    admin_client.post(url, {"label": "balanced", "score": "9", "model_id": "other"})

    record.refresh_from_db()
    assert (record.label, record.score, record.model_id) == ("balanced", 5, "qwen")

    answer = admin_client.post(url, {"label": "slow"}).content.decode()
    record.refresh_from_db()
    assert record.label == "balanced"
    assert "slow is not one of the available choices" in answer


def test_who_may_only_look_cannot_label() -> None:
    viewer = client_of("view_requestrecord")
    record = make_record()

    assert "_save" not in page_of(viewer, record)
    label(viewer, "label_fast", record)
    url = reverse("admin:servers_app_requestrecord_change", args=[record.pk])
    assert viewer.post(url, {"label": "fast"}).status_code == 403
    record.refresh_from_db()
    assert record.label == ""


def test_who_may_not_look_sees_nothing() -> None:
    stranger = client_of()

    assert stranger.get(LIST).status_code == 403
    assert stranger.get(USAGE).status_code == 403


def test_nobody_adds_or_deletes_a_record(admin_client: Client) -> None:
    record = make_record()
    minute = UsageMinute.objects.create(minute=timezone.now())

    for row in (record, minute):
        name = f"admin:servers_app_{row._meta.model_name}"
        assert admin_client.get(reverse(f"{name}_add")).status_code == 403
        assert admin_client.post(reverse(f"{name}_delete", args=[row.pk])).status_code == 403
    page = admin_client.get(reverse("admin:servers_app_usageminute_change", args=[minute.pk]))
    assert "_save" not in page.content.decode()


# -- what a page costs


def test_a_page_of_many_requests_costs_a_few_queries_and_counts_no_more_than_it_lists(
    admin_client: Client,
    django_assert_max_num_queries: DjangoAssertNumQueries,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_admin, "LISTED", 120)
    RequestRecord.objects.bulk_create(
        RequestRecord(request_id=str(n), at=timezone.now(), path="/v1", outcome="ok")
        for n in range(200)
    )

    with django_assert_max_num_queries(6):
        cl = admin_client.get(LIST).context["cl"]

    assert cl.result_count == 120
    assert len(cl.result_list) == 50
    assert len(admin_client.get(LIST, {"p": "3"}).context["cl"].result_list) == 20
