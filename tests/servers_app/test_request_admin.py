"""The request log in the admin: what is shown, who may label, what a page costs."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from servers_app import request_admin, request_lists
from servers_app.apikeys import new_key, revoke
from servers_app.request_models import RequestRecord
from tests.conftest import MakeModel, MakeServer

pytestmark = pytest.mark.django_db

LIST = reverse("admin:servers_app_requestrecord_changelist")


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
    assert listed(admin_client, outcome="broken") == ["b"]
    assert listed(admin_client, outcome__exact="broken") == ["b"]  # as other pages link to it
    assert listed(admin_client, path="/v1/embeddings") == ["c"]
    assert listed(admin_client, tier__exact="fast") == ["a"]
    assert listed(admin_client, label="powerful") == ["c"]
    assert listed(admin_client, label="any") == ["c"]
    assert listed(admin_client, label="fast") == []
    assert listed(admin_client, since="24h") == ["a", "b", "c"]


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


def test_one_click_shows_what_went_wrong(admin_client: Client) -> None:
    for outcome in ("ok", "failed", "broken", "refused", "client_gone"):
        make_record(outcome, outcome=outcome)

    assert "?outcome=errors" in admin_client.get(LIST).content.decode()
    assert listed(admin_client, outcome="errors") == ["broken", "failed", "refused"]


def test_what_is_found_is_added_up(admin_client: Client) -> None:
    for number in range(1, 21):
        make_record(f"a{number}", prompt_tokens=100, completion_tokens=10, total_ms=number)
    make_record("b", outcome="failed", model_id="other")
    make_record("c", outcome="refused")

    sums = admin_client.get(LIST).context["sums"]
    filtered = admin_client.get(LIST, {"outcome": "failed"}).context["sums"]

    assert (sums["requests"], sums["failures"], sums["refused"]) == (22, 1, 1)
    assert (sums["prompt_tokens"], sums["completion_tokens"]) == (2000, 200)
    assert sums["first_byte_ms"] is None
    assert (filtered["requests"], filtered["failures"]) == (1, 1)


def test_half_and_95_of_100_requests_took_no_longer_than_is_said(admin_client: Client) -> None:
    for ms in range(1, 102):
        make_record(f"a{ms}", total_ms=ms, first_byte_ms=ms / 10)

    sums = admin_client.get(LIST).context["sums"]

    assert sums["total_ms"] == (51, 96)
    assert sums["first_byte_ms"] == (5.1, 9.6)


@pytest.mark.parametrize(
    ("query", "is_live"),
    [
        pytest.param({}, True, id="the newest"),
        pytest.param({"live": "0"}, False, id="switched off"),
        pytest.param({"p": "2"}, False, id="an older page"),
        pytest.param({"o": "1"}, False, id="the oldest first"),
    ],
)
def test_new_requests_come_in_where_the_newest_are_shown(
    admin_client: Client, query: dict[str, str], is_live: bool
) -> None:
    RequestRecord.objects.bulk_create(
        RequestRecord(request_id=str(n), at=timezone.now(), path="/v1", outcome="ok")
        for n in range(60)
    )

    page = admin_client.get(LIST, query).content.decode()

    assert ("data-live-every" in page) is is_live


def test_an_empty_log_says_how_to_send_a_request(admin_client: Client) -> None:
    page = admin_client.get(LIST).content.decode()

    assert "No request has come yet" in page
    assert "curl http://testserver/v1/chat/completions" in page
    assert reverse("admin:playground") in page


def test_the_page_leads_to_what_the_request_went_to(
    admin_client: Client, make_model: MakeModel, make_server: MakeServer
) -> None:
    server = make_server(make_model("qwen"))
    record = make_record(server_id=server.pk)
    gone = make_record("gone", server_id=server.pk + 1, model_id="nobody")
    links = (
        reverse("admin:servers_app_server_change", args=[server.pk]),
        reverse("admin:models_app_discoveredmodel_change", args=[server.model_id]),
    )

    page, page_of_gone = page_of(admin_client, record), page_of(admin_client, gone)

    assert all(f'href="{link}"' in page for link in links)
    assert f"server {server.pk + 1}" in page_of_gone
    assert f"/server/{server.pk + 1}/" not in page_of_gone


def test_the_page_leads_to_the_requests_before_and_after(admin_client: Client) -> None:
    now = timezone.now()
    records = [make_record(str(n), at=now + timedelta(seconds=n)) for n in range(3)]

    log = admin_client.get(
        reverse("admin:servers_app_requestrecord_change", args=[records[1].pk])
    ).context["log"]

    assert (log["older"], log["newer"]) == (records[0], records[2])


# -- who may say what


def test_labels_are_given_and_taken_back_for_many(admin_client: Client) -> None:
    records = [make_record("a"), make_record("b"), make_record("c")]

    label(admin_client, "label_powerful", *records[:2])
    label(admin_client, "label_fast", records[2])
    label(admin_client, "take_label_back", records[1])

    labels = dict(RequestRecord.objects.values_list("request_id", "label"))
    assert labels == {"a": "powerful", "b": "", "c": "fast"}


def test_a_button_of_a_row_labels_it_and_comes_back_to_it(admin_client: Client) -> None:
    record, other = make_record("a"), make_record("b")

    answer = admin_client.post(f"{LIST}?since=1h", {"label": f"{record.pk} powerful"})

    record.refresh_from_db()
    other.refresh_from_db()
    assert (record.label, other.label) == ("powerful", "")
    assert answer["Location"] == f"{LIST}?since=1h#request-{record.pk}"
    page = admin_client.get(LIST).content.decode()
    assert f'value="{record.pk} none" aria-label="Powerful"' in page

    admin_client.post(LIST, {"label": f"{record.pk} none"})

    record.refresh_from_db()
    assert record.label == ""


@pytest.mark.parametrize("sent", ["x fast", "1 slow", "", "999999 fast"])
def test_a_button_that_nobody_made_labels_nothing(admin_client: Client, sent: str) -> None:
    make_record()

    page = admin_client.post(LIST, {"label": sent}, follow=True).content.decode()

    assert "Not labelled" in page
    assert not RequestRecord.objects.exclude(label="").exists()


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

    assert 'name="label"' not in page_of(viewer, record)
    assert 'name="label"' not in viewer.get(LIST).content.decode()
    assert viewer.post(LIST, {"label": f"{record.pk} fast"}).status_code == 403
    label(viewer, "label_fast", record)
    url = reverse("admin:servers_app_requestrecord_change", args=[record.pk])
    assert viewer.post(url, {"label": "fast"}).status_code == 403
    record.refresh_from_db()
    assert record.label == ""


def test_who_may_not_look_sees_nothing() -> None:
    stranger = client_of()

    assert stranger.get(LIST).status_code == 403


def test_nobody_adds_or_deletes_a_record(admin_client: Client) -> None:
    record, name = make_record(), "admin:servers_app_requestrecord"

    assert admin_client.get(reverse(f"{name}_add")).status_code == 403
    assert admin_client.post(reverse(f"{name}_delete", args=[record.pk])).status_code == 403


# -- what a page costs


def test_a_page_of_many_requests_costs_a_few_queries_and_counts_no_more_than_it_lists(
    admin_client: Client,
    django_assert_max_num_queries: DjangoAssertNumQueries,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_lists, "LISTED", 120)
    monkeypatch.setattr(request_admin, "LISTED", 120)
    RequestRecord.objects.bulk_create(
        RequestRecord(request_id=str(n), at=timezone.now(), path="/v1", outcome="ok")
        for n in range(200)
    )

    with django_assert_max_num_queries(8):
        cl = admin_client.get(LIST).context["cl"]

    assert cl.result_count == 120
    assert len(cl.result_list) == 50
    assert len(admin_client.get(LIST, {"p": "3"}).context["cl"].result_list) == 20
