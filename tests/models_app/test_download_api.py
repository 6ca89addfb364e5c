"""The calls for downloads, and their pages: a worker in the test's own thread fetches."""

from html import unescape
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from kombu.exceptions import OperationalError
from pytest_django import DjangoAssertNumQueries, Settings

from models_app.audit_models import AuditEntry
from models_app.download_models import Download, DownloadState
from models_app.downloads import worker
from models_app.downloads.figures import as_json
from models_app.errors import QueueUnavailableError
from tests.models_app.hubs import Content, Hub, make_model
from tests.models_app.hubs.fixtures import hub, node_folders
from tests.pings import pongs

__all__ = ["hub", "node_folders"]

pytestmark = pytest.mark.django_db(transaction=True)

REPO = "org/Tiny-1B-GGUF"
FILE = "Tiny-1B-Q8_0.gguf"
DOWNLOADS = "/api/models/downloads"
GET_MODELS = "admin:get_models"
LIST = "admin:models_app_download_changelist"


@pytest.fixture
def given(hub: Hub, node_folders: Path) -> Content:
    return hub.add(REPO, make_model(node_folders / "given", FILE))


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A worker that answers and takes what is queued, and leaves it for the test."""
    queued: list[int] = []
    monkeypatch.setattr(
        "models_app.downloads.service.enqueue",
        lambda _task, pk, **_options: queued.append(pk),
    )
    monkeypatch.setattr("celery.app.control.Control.broadcast", pongs)
    return queued


@pytest.fixture
def fetching(queue: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that fetches at once."""
    monkeypatch.setattr(
        "models_app.downloads.service.enqueue", lambda _task, pk, **_options: worker.run(pk)
    )


def row(**fields: object) -> Download:
    values = {"node": "local", "source": "hub", "reference": f"{REPO}:Q8_0", **fields}
    return Download.objects.create(**values)


# -- the API


@pytest.mark.usefixtures("fetching")
def test_a_pull_is_waited_for_and_answers_with_the_model_which_is_not_enabled(
    client: Client, given: Content
) -> None:
    response = client.post(DOWNLOADS, {"reference": REPO}, content_type="application/json")

    assert response.status_code == 200
    body = response.json()
    assert (body["state"], body["percent"], body["error"]) == ("finished", 100, "")
    assert body["done_bytes"] == body["total_bytes"] == given.size
    assert body["files"][0]["sha256"] == given.sha256
    assert f"registered as {body['model_id']}, not enabled" in body["message"]
    shown = client.get(f"{DOWNLOADS}/{body['id']}").json()
    assert shown == {key: value for key, value in body.items() if key != "message"}


def test_a_pull_that_is_not_done_in_time_can_be_followed_and_cancelled(
    client: Client, queue: list[int]
) -> None:
    response = client.post(
        f"{DOWNLOADS}?wait=0",
        {"reference": f"{REPO}:q8_0", "limit_bytes_per_s": 2048},
        content_type="application/json",
    )

    body = response.json()
    assert response.status_code == 202
    assert (body["state"], body["reference"]) == ("queued", f"{REPO}:Q8_0")
    assert (body["task_id"], body["limit_bytes_per_s"]) == (None, 2048)
    assert body["status_url"] == f"{DOWNLOADS}/{body['id']}"
    assert queue == [body["id"]]

    cancelled = client.post(f"{body['status_url']}/cancel")

    assert cancelled.status_code == 200
    assert cancelled.json()["state"] == "cancelled"
    again = client.post(f"{body['status_url']}/cancel").json()
    assert again["message"].startswith("Nothing to cancel")
    actions = list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))
    assert actions == ["pull", "cancel"]


def test_downloads_are_listed_and_chosen(client: Client) -> None:
    running = row(state=DownloadState.RUNNING)
    failed = row(state=DownloadState.FAILED, node="other", error="no", error_code="failed")

    everything = client.get(DOWNLOADS).json()
    under_way = client.get(DOWNLOADS, {"state": "under_way"}).json()
    elsewhere = client.get(f"{DOWNLOADS}?node=other&state=failed&limit=1").json()

    assert everything["count"] == 2
    assert [each["id"] for each in under_way["downloads"]] == [running.pk]
    assert [each["id"] for each in elsewhere["downloads"]] == [failed.pk]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param({}, "reference", id="nothing"),
        pytest.param([], "is an object", id="a list"),
        pytest.param({"reference": "/etc/passwd"}, "it is a path", id="path"),
        pytest.param({"reference": "x" * 301}, "300", id="long"),
        pytest.param({"reference": REPO, "source": "ftp"}, "hub or ollama", id="source"),
        pytest.param({"reference": REPO, "node": "a*"}, "letters, digits", id="node"),
        pytest.param({"reference": REPO, "revision": "../x"}, "no branch", id="revision"),
        pytest.param({"reference": REPO, "limit_bytes_per_s": 1}, "1024", id="limit"),
        pytest.param({"reference": REPO, "limit_bytes_per_s": "1e99"}, "integer", id="number"),
    ],
)
def test_what_cannot_be_pulled_is_refused_with_what_can(
    client: Client, queue: list[int], body: object, says: str
) -> None:
    response = client.post(DOWNLOADS, body, content_type="application/json")

    assert response.status_code == 400
    assert says in response.json()["detail"]
    assert not Download.objects.exists()


@pytest.mark.usefixtures("fetching")
def test_what_fails_at_the_hub_has_a_status_of_its_own(
    client: Client, hub: Hub, given: Content, settings: Settings
) -> None:
    hub.repos["org/gated"] = hub.repos[REPO]
    hub.gated, hub.hides_gated = {"org/gated"}, True

    def asked(reference: str) -> tuple[int, str]:
        response = client.post(
            DOWNLOADS, {"reference": reference}, content_type="application/json"
        )
        return response.status_code, response.json()["detail"]

    assert asked("org/none")[0] == 404
    assert asked(f"{REPO}:Q2_K")[0] == 404
    status, detail = asked("org/gated")
    assert (status, "HF_TOKEN" in detail) == (409, True)
    settings.MAGI_DOWNLOAD_RESERVE_MIB = 10**9
    status, detail = asked(REPO)
    assert (status, "full" in detail) == (507, True)
    settings.MAGI_DOWNLOAD_RESERVE_MIB = 0
    hub.trouble.wrong_bytes = True
    status, detail = asked(REPO)
    assert (status, "other bytes" in detail) == (502, True)


def test_without_a_worker_a_pull_is_refused_at_once(
    client: Client, queue: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celery.app.control.Control.broadcast", lambda *_a, **_o: [])

    response = client.post(
        DOWNLOADS, {"reference": REPO, "node": "other"}, content_type="application/json"
    )

    assert response.status_code == 503
    assert "No worker of node 'other'" in response.json()["detail"]
    assert not Download.objects.exists()


@pytest.mark.parametrize("path", ["/999", "/99999999999999999999", "/999/cancel"])
def test_a_download_that_is_not_there_is_not_found(client: Client, path: str) -> None:
    call = client.post if path.endswith("cancel") else client.get

    response = call(f"{DOWNLOADS}{path}")

    assert response.status_code == 404
    assert "GET /api/models/downloads" in response.json()["detail"]


# -- the admin


def shown(client: Client, name: str, *args: object, **query: str) -> str:
    return unescape(client.get(reverse(name, args=args), query).content.decode())


def test_the_list_has_a_bar_a_rate_and_the_buttons_that_fit(
    admin_client: Client, given: Content
) -> None:
    running = row(
        state=DownloadState.RUNNING, total_bytes=10**9, done_bytes=4 * 10**8, bytes_per_s=10**7
    )
    failed = row(
        state=DownloadState.FAILED,
        node="other",
        error="The disk is full.",
        error_code="disk_full",
    )

    page = shown(admin_client, LIST)

    assert 'max="100" value="40"' in page
    assert "10.0 MB/s, 1:00 to go" in page
    assert reverse("admin:models_app_download_cancel", args=[running.pk]) in page
    assert reverse("admin:models_app_download_again", args=[failed.pk]) in page
    assert "The disk is full." in page
    assert 'data-live="task"' in page


def test_a_download_has_a_page_with_its_files(admin_client: Client, given: Content) -> None:
    file = {"name": FILE, "size_bytes": 2000, "done_bytes": 1000, "sha256": given.sha256}
    download = row(state=DownloadState.RUNNING, files=[file], total_bytes=2000, done_bytes=1000)

    page = shown(admin_client, "admin:models_app_download_change", download.pk)

    assert FILE in page
    assert given.sha256 in page
    assert 'value="50"' in page


def test_the_buttons_cancel_and_try_again(admin_client: Client, queue: list[int]) -> None:
    download = row()

    page = admin_client.post(
        reverse("admin:models_app_download_cancel", args=[download.pk]), follow=True
    )
    download.refresh_from_db()
    assert "Cancelling org/Tiny-1B-GGUF:Q8_0" in page.content.decode()
    assert download.state == DownloadState.CANCELLED

    admin_client.post(reverse("admin:models_app_download_again", args=[download.pk]))
    download.refresh_from_db()
    assert (download.state, queue) == (DownloadState.QUEUED, [download.pk])


def test_who_may_only_look_can_ask_for_nothing(client: Client, queue: list[int]) -> None:
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_download"))
    client.force_login(user)
    download = row()

    assert reverse("admin:models_app_download_cancel", args=[download.pk]) not in shown(
        client, LIST
    )
    for name in ("cancel", "again"):
        url = reverse(f"admin:models_app_download_{name}", args=[download.pk])
        assert client.get(url).status_code == 405
        assert client.post(url).status_code == 403
    page = client.get(reverse(GET_MODELS))
    assert 'name="reference"' not in page.content.decode()
    assert client.post(reverse(GET_MODELS), {"reference": REPO}).status_code == 403


def test_the_list_takes_as_many_queries_for_many_downloads(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(30):
        row(reference=f"org/repo-{number}")

    with django_assert_max_num_queries(12):
        admin_client.get(reverse(LIST))


def test_words_lead_to_repos_and_a_repo_to_quantizations_that_can_be_pulled(
    admin_client: Client, given: Content, queue: list[int]
) -> None:
    found = shown(admin_client, GET_MODELS, q="tiny")
    assert f"?repo={REPO.replace('/', '%2F')}" in found

    quants = shown(admin_client, GET_MODELS, repo=REPO)
    assert f'value="{REPO}:Q8_0"' in quants
    assert "It is not enabled" in quants

    page = admin_client.post(
        reverse(GET_MODELS), {"reference": f"{REPO}:Q8_0", "limit": "2.5"}, follow=True
    )
    download = Download.objects.get()
    assert (download.limit_bytes_per_s, queue) == (2_500_000, [download.pk])
    assert "Fetching org/Tiny-1B-GGUF:Q8_0" in page.content.decode()
    assert page.redirect_chain[-1][0] == reverse(LIST)


@pytest.mark.usefixtures("fetching")
def test_what_has_come_links_to_its_model(admin_client: Client, given: Content) -> None:
    admin_client.post(reverse(GET_MODELS), {"reference": REPO})

    model = Download.objects.get().model
    assert model is not None
    link = reverse("admin:models_app_discoveredmodel_change", args=[model.pk])
    assert link in shown(admin_client, LIST)
    quants = shown(admin_client, GET_MODELS, repo=REPO)
    assert link in quants
    assert f'value="{REPO}:Q8_0"' not in quants  # it is here


@pytest.mark.parametrize(
    ("form", "says"),
    [
        pytest.param({"reference": "../x"}, "is no model to fetch", id="path"),
        pytest.param({"reference": REPO, "limit": "fast"}, "megabytes a second", id="words"),
        pytest.param({"reference": REPO, "limit": "nan"}, "megabytes a second", id="nan"),
        pytest.param({"reference": REPO, "node": "mars"}, "there is no node mars", id="node"),
    ],
)
def test_a_form_that_cannot_be_meant_asks_for_nothing(
    admin_client: Client, queue: list[int], form: dict[str, str], says: str
) -> None:
    page = admin_client.post(reverse(GET_MODELS), form, follow=True)

    assert "Not fetched: " in unescape(page.content.decode())
    assert says in unescape(page.content.decode())
    assert not Download.objects.exists()


def test_a_hub_that_is_away_is_said_on_the_page(
    admin_client: Client, given: Content, hub: Hub
) -> None:
    hub.api_answers = [(503, {})]

    assert "does not answer as it should" in shown(admin_client, GET_MODELS, repo=REPO)


def test_without_a_queue_what_is_wanted_is_kept(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, given: Content
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise QueueUnavailableError from OperationalError()

    monkeypatch.setattr("models_app.downloads.service.enqueue", refuse)

    page = admin_client.post(reverse(GET_MODELS), {"reference": REPO}, follow=True)

    assert "It is wanted all the same" in page.content.decode()
    assert as_json(Download.objects.get())["state"] == "queued"
