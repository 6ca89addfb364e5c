"""Downloads from a hub: what comes, what does not, and what is left of it."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import close_session
from pytest_django import Settings

from models_app.download_models import Download, DownloadState
from models_app.downloads import recovery, service, transfer, worker
from models_app.downloads.control import Control
from models_app.downloads.http import after_s, make_client
from models_app.downloads.hub import hub_plan
from models_app.downloads.references import parse_reference
from models_app.downloads.worker import Look
from models_app.locks import node_lock
from models_app.models import DiscoveredModel, ScanRoot
from models_app.worker_end import stopping
from profiles_app.models import ProfileMember
from servers_app.models import Server
from tests.models_app.hubs import COMMIT, Content, Hub, make_model
from tests.models_app.hubs.fetching import NAME, REPO, cache, fetched, partial_of
from tests.models_app.scans import PROJECTOR

pytestmark = pytest.mark.django_db

HALF = (
    100_000  # of the model's bytes: whoever acts on a stall waits until all of them are there
)


@pytest.fixture
def model(hub: Hub, tmp_path: Path) -> Content:
    return hub.add(REPO, make_model(tmp_path / "there", NAME))


def test_a_model_comes_into_the_standard_cache_and_is_registered(model: Content) -> None:
    done = fetched()

    assert (done.state, done.error) == (DownloadState.FINISHED, "")
    link = cache() / "models--org--Qwen3-4B-GGUF" / "snapshots" / COMMIT / NAME
    assert link.is_symlink()
    assert link.resolve().name == model.sha256
    assert link.read_bytes() == model.path.read_bytes()
    assert (cache() / "models--org--Qwen3-4B-GGUF/refs/main").read_text() == COMMIT
    assert done.model is not None
    assert done.model.repo_id == REPO
    assert done.model.file_path == str(link)
    assert done.files == [
        {
            "name": NAME,
            "size_bytes": model.size,
            "done_bytes": model.size,
            "sha256": model.sha256,
        }
    ]
    assert (done.total_bytes, done.done_bytes, done.commit) == (model.size, model.size, COMMIT)


def test_what_was_fetched_is_enabled_by_nobody(model: Content) -> None:
    fetched()

    assert DiscoveredModel.objects.count() == 1
    assert not ProfileMember.objects.exists()
    assert not Server.objects.exists()


def test_200_mb_that_are_cut_three_times_resume_at_the_byte(hub: Hub, tmp_path: Path) -> None:
    large = hub.add(REPO, make_model(tmp_path / "there", NAME, megabytes=200))
    hub.trouble.cuts.extend([50_000_000, 30_000_001, 77_777_777])

    done = fetched()

    assert (done.state, done.error) == (DownloadState.FINISHED, "")
    starts = [int(asked.range[6:-1]) for asked in hub.bodies()]
    assert starts == [0, 50_000_000, 80_000_001, 157_777_778]
    assert Content.of(cache() / "models--org--Qwen3-4B-GGUF/blobs" / large.sha256) == Content(
        cache() / "models--org--Qwen3-4B-GGUF/blobs" / large.sha256, large.size, large.sha256
    )
    assert DiscoveredModel.objects.count() == Download.objects.count() == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_failures_that_may_pass_are_tried_again(hub: Hub, model: Content, status: int) -> None:
    hub.trouble.answers.extend([(status, {"Retry_After": "0"}), (status, {})])
    hub.api_answers = [(status, {})]

    assert fetched().state == DownloadState.FINISHED


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("7", 7),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 480),
        ("Wed, 21 Oct 2015 07:19:00 GMT", 0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", 0),
        ("soon", 0),
        ("-7", 0),
        ("nan", 0),
    ],
)
def test_a_hub_says_for_how_long_it_is_to_be_left_alone(
    told: str, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2015, 10, 21, 7, 20, tzinfo=UTC).timestamp()
    monkeypatch.setattr("models_app.downloads.http.time.time", lambda: now)

    assert after_s(httpx2.Response(503, headers={"Retry-After": told})) == expected


def test_a_hub_that_answers_no_more_is_told_of_and_what_came_stays(
    hub: Hub,
    model: Content,
) -> None:
    hub.trouble.cuts.extend([HALF, *[0] * 20])

    done = fetched()

    assert (done.state, done.error_code) == (DownloadState.FAILED, "unavailable")
    assert "goes on where it stopped" in done.error
    assert done.done_bytes == partial_of(model).stat().st_size == HALF


def test_a_hub_that_is_not_there_is_unavailable(
    node_folders: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    assert fetched().error_code == "unavailable"


def test_without_ranges_a_cut_file_comes_anew(hub: Hub, model: Content) -> None:
    hub.trouble.knows_ranges = False
    hub.trouble.cuts.append(HALF)

    done = fetched()

    assert done.state == DownloadState.FINISHED
    assert len(hub.bodies()) == 2


def test_a_hub_that_gives_the_same_beginning_again_and_again_is_given_up(
    hub: Hub, model: Content
) -> None:
    hub.trouble.knows_ranges = False
    hub.trouble.cuts.extend([HALF] * 20)

    assert fetched().error_code == "unavailable"
    assert len(hub.bodies()) < 20


def test_all_shards_and_the_projector_come(hub: Hub, tmp_path: Path) -> None:
    split = {"split.count": 2}
    for number in (1, 2):
        name = f"gemma-3-4b-it-Q8_0-{number:05}-of-00002.gguf"
        metadata = split | {"split.no": number - 1, "general.architecture": "gemma3"}
        hub.add(REPO, make_model(tmp_path / "there", name, metadata=metadata), f"Q8_0/{name}")
    for kind in ("F16", "F32"):
        hub.add(REPO, make_model(tmp_path / "there", f"mmproj-{kind}.gguf", metadata=PROJECTOR))
    hub.add(REPO, make_model(tmp_path / "there", "gemma-3-4b-it-Q2_K.gguf"))

    done = fetched(f"{REPO}:q8_0")

    assert (done.state, done.error) == (DownloadState.FINISHED, "")
    assert [file["name"] for file in done.files] == [
        "Q8_0/gemma-3-4b-it-Q8_0-00001-of-00002.gguf",
        "Q8_0/gemma-3-4b-it-Q8_0-00002-of-00002.gguf",
        "mmproj-F16.gguf",
    ]
    assert done.model is not None
    assert done.model.shard_count == 2


def test_a_revision_is_fetched_and_named(hub: Hub, model: Content) -> None:
    hub.revisions = ("v1.0",)

    done = fetched(revision="v1.0")

    assert done.state == DownloadState.FINISHED
    assert (cache() / "models--org--Qwen3-4B-GGUF/refs/v1.0").read_text() == COMMIT


def test_a_hub_that_lists_names_alone_is_asked_for_each_file(hub: Hub, model: Content) -> None:
    hub.tells_details = False

    assert fetched().state == DownloadState.FINISHED


def test_what_is_there_is_not_fetched_again(hub: Hub, model: Content) -> None:
    first = fetched()

    again = fetched()

    assert again.pk != first.pk
    assert again.state == DownloadState.FINISHED
    assert len(hub.bodies()) == 1


def test_of_what_is_there_already_nothing_is_written(
    model: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched()

    def read_only(*_args: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "write_text", read_only)
    monkeypatch.setattr(Path, "symlink_to", read_only)

    assert fetched().state == DownloadState.FINISHED


def test_a_cancelled_download_ends_while_its_hub_stalls_and_resumes(
    hub: Hub,
    model: Content,
) -> None:
    hub.trouble.stalls.append(HALF)
    row, _ = service.want(REPO)

    def cancel(look: Look) -> None:
        if look.row.done_bytes == HALF:
            service.cancel_download(look.row)

    done = worker.run(row.pk, on_tick=cancel)

    assert done is not None
    assert done.state == DownloadState.CANCELLED
    assert partial_of(model).stat().st_size == HALF
    assert fetched().pk == row.pk
    assert hub.bodies()[-1].range == f"bytes={HALF}-"


def test_what_is_asked_for_again_while_it_is_being_cancelled_is_not_lost(
    hub: Hub,
    model: Content,
) -> None:
    hub.trouble.stalls.append(HALF)
    row, _ = service.want(REPO)

    def change_ones_mind(look: Look) -> None:
        if look.row.done_bytes == HALF and look.row.is_wanted:
            service.cancel_download(look.row)
            assert service.want(REPO) == (row, True)

    done = worker.run(row.pk, on_tick=change_ones_mind)

    assert done is not None
    assert (done.state, done.is_wanted) == (DownloadState.QUEUED, True)
    assert recovery.waiting(row.node) == [row.pk]
    assert fetched().pk == row.pk
    assert hub.bodies()[-1].range == f"bytes={HALF}-"


def test_a_worker_that_ends_leaves_its_download_to_the_next(hub: Hub, model: Content) -> None:
    hub.trouble.stalls.append(HALF)
    row, _ = service.want(REPO)

    def end(look: Look) -> None:
        if look.row.done_bytes == HALF:
            stopping.set()

    try:
        done = worker.run(row.pk, on_tick=end)
    finally:
        stopping.clear()

    assert done is not None
    assert (done.state, done.is_wanted) == (DownloadState.QUEUED, True)
    assert recovery.waiting(row.node) == [row.pk]
    worker.run(row.pk)
    assert hub.bodies()[-1].range == f"bytes={HALF}-"


def test_a_download_that_another_process_is_at_is_left_to_it(model: Content) -> None:
    row, _ = service.want(REPO)

    with node_lock(worker.lock_name(row.pk)):
        assert worker.run(row.pk) is None
        assert recovery.waiting(row.node) == []
        service.cancel_download(row)

    assert (row.state, row.is_wanted) == (DownloadState.QUEUED, False)


def test_downloads_wait_for_a_place(model: Content, settings: Settings) -> None:
    settings.MAGI_DOWNLOADS_AT_ONCE = 1
    row, _ = service.want(REPO)

    with node_lock("download-slot-0"):
        assert not worker.run_in_turn(row.pk)
        assert recovery.waiting(row.node) == []
    row.refresh_from_db()
    assert row.state == DownloadState.QUEUED

    assert worker.run_in_turn(row.pk)


def test_a_download_whose_worker_died_is_found(model: Content) -> None:
    row, _ = service.want(REPO)
    Download.objects.filter(pk=row.pk).update(state=DownloadState.RUNNING)

    assert recovery.waiting(row.node) == [row.pk]


def test_a_cache_that_nobody_scans_becomes_a_scan_root(
    model: Content, settings: Settings, tmp_path: Path
) -> None:
    settings.MODEL_SCAN_PATH = [tmp_path / "elsewhere"]

    done = fetched()

    assert done.model is not None
    root = ScanRoot.objects.get(path=str(cache()))
    assert (root.kind, root.from_settings) == ("huggingface", False)


def test_a_scan_root_that_was_switched_off_stays_off(model: Content) -> None:
    cache().mkdir(parents=True)
    ScanRoot.objects.create(
        node="local", path=str(cache()), kind="huggingface", is_enabled=False
    )

    done = fetched()

    assert (done.state, done.error_code) == (DownloadState.FAILED, "unsupported")
    assert "Enable it" in done.error


def test_hubs_are_asked_by_way_of_the_proxy(
    hub: Hub, model: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_session()  # the hub's library looks once who its proxy is
    monkeypatch.setenv("HTTP_PROXY", hub.url)  # it knows what it is asked for as a proxy, too
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    monkeypatch.setenv("NO_PROXY", "")
    hub.redirects_to = "http://cdn.invalid"

    assert fetched().state == DownloadState.FINISHED
    assert {one.host for one in hub.asked} == {"hub.invalid", "cdn.invalid"}


def test_two_who_fetch_the_same_file_fetch_it_once(
    hub: Hub, model: Content, tmp_path: Path
) -> None:
    hub.trouble.bytes_per_s = 400_000
    plan = hub_plan(parse_reference(REPO), "", Control())

    def fetch() -> None:
        with make_client() as client:
            transfer.Fetcher(client, Control(), "", "").fetch(plan.files[0])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _number: fetch(), range(2)))

    assert len(hub.bodies()) == 1
    assert Content.of(plan.files[0].blob).sha256 == model.sha256
