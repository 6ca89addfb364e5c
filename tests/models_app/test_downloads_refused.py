"""Downloads that are refused, and what is left of them: nothing."""

import errno
from pathlib import Path

import pytest
from pytest_django import Settings

from models_app.download_models import DownloadState
from models_app.downloads import transfer
from models_app.errors import UnsupportedDownloadError
from models_app.hubsearch.searching import search_hub
from models_app.models import DiscoveredModel
from tests.models_app.hubs import Content, Hub, make_model
from tests.models_app.hubs.fetching import NAME, REPO, cache, fetched, left_over, partial_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def model(hub: Hub, tmp_path: Path) -> Content:
    return hub.add(REPO, make_model(tmp_path / "there", NAME))


def test_other_bytes_than_the_hub_tells_of_are_removed(hub: Hub, model: Content) -> None:
    hub.trouble.wrong_bytes = True

    done = fetched()

    assert (done.state, done.error_code) == (DownloadState.FAILED, "wrong_hash")
    assert "was removed" in done.error
    assert (done.done_bytes, done.files[0]["done_bytes"]) == (0, 0)
    assert left_over() == []
    assert not DiscoveredModel.objects.exists()


def test_of_a_resumed_file_with_other_bytes_nothing_is_left(hub: Hub, model: Content) -> None:
    partial_of(model).parent.mkdir(parents=True)
    partial_of(model).write_bytes(b"of something else")

    done = fetched()

    assert done.error_code == "wrong_hash"
    assert left_over() == []
    assert fetched().state == DownloadState.FINISHED


def test_more_bytes_than_said_are_not_waited_for(hub: Hub, model: Content) -> None:
    hub.trouble.too_many = 10_000_000
    hub.trouble.knows_ranges = False

    done = fetched()

    assert done.error_code == "wrong_hash"
    assert "More than the" in done.error
    assert left_over() == []


def test_a_file_of_another_size_than_said_is_refused(hub: Hub, model: Content) -> None:
    hub.lie(REPO, NAME, size=model.size + 1)
    hub.add("org/other", model)
    hub.redirects_to = f"{hub.url}/cdn/org/other/{NAME}?"

    done = fetched()

    assert done.error_code == "wrong_hash"
    assert left_over() == []


def test_what_is_no_gguf_file_is_removed(hub: Hub, tmp_path: Path) -> None:
    page = tmp_path / NAME
    page.write_bytes(b"<html>sign in</html>")
    hub.add(REPO, Content.of(page))

    done = fetched()

    assert done.error_code == "unsupported"
    assert left_over() == []


def test_a_gated_repo_says_what_to_do(hub: Hub, model: Content) -> None:
    hub.gated.add(REPO)

    done = fetched()

    assert (done.state, done.error_code) == (DownloadState.FAILED, "gated")
    assert f"Accept its licence on {hub.url}/{REPO}, set HF_TOKEN" in done.error


@pytest.mark.parametrize(
    "address",
    ["hub.example", "ftp://hub.example", "http://", "http://[::1", "http://hub:99999"],
)
def test_an_address_of_the_hub_that_is_none_is_said_at_once(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)

    done = fetched()

    assert (done.state, done.error_code) == (DownloadState.FAILED, "unsupported")
    assert f"HF_ENDPOINT='{address}' is no address. Set it to one such as https:" in done.error
    with pytest.raises(UnsupportedDownloadError, match="HF_ENDPOINT="):
        search_hub("llama")


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_password_in_the_address_of_the_hub_is_shown_to_nobody(
    hub: Hub, model: Content, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    address = f"{scheme}me:hunter2@{hub.url.removeprefix('http://')}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    hub.gated.add(REPO)

    assert "hunter2" not in fetched().error
    assert "hunter2" not in fetched("org/nothing").error


def test_a_hub_that_hides_a_repo_from_strangers_is_gated_too(hub: Hub, model: Content) -> None:
    hub.gated.add(REPO)
    hub.hides_gated = True

    assert fetched().error_code == "gated"


def test_the_token_is_sent_to_the_hub_and_to_no_other_host(
    hub: Hub,
    model: Content,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.gated.add(REPO)
    monkeypatch.setenv("HF_TOKEN", hub.token)

    assert fetched().state == DownloadState.FINISHED

    with_token = {one.host for one in hub.asked if "authorization" in one.headers}
    assert with_token == {"127.0.0.1"}
    assert {one.host for one in hub.bodies()} == {"localhost"}


@pytest.mark.parametrize(
    ("reference", "revision", "code"),
    [
        pytest.param("org/nothing", "", "unknown", id="repo"),
        pytest.param(REPO, "v9", "unknown", id="revision"),
        pytest.param(f"{REPO}:Q2_K", "", "no_quant", id="quantization"),
    ],
)
def test_what_a_hub_has_not_is_told(
    hub: Hub,
    model: Content,
    reference: str,
    revision: str,
    code: str,
) -> None:
    done = fetched(reference, revision=revision)

    assert (done.state, done.error_code) == (DownloadState.FAILED, code)
    assert left_over() == []


def test_a_repo_that_the_hub_tells_a_stranger_nothing_of_is_unknown(hub: Hub) -> None:
    hub.unknown_status = 401

    assert fetched("org/nothing").error_code == "unknown"


def test_offline_mode_asks_nobody(
    hub: Hub,
    model: Content,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    assert fetched().error_code == "offline"
    assert hub.asked == []


def test_a_model_that_does_not_fit_is_not_begun(
    hub: Hub,
    model: Content,
    settings: Settings,
) -> None:
    settings.MAGI_DOWNLOAD_RESERVE_MIB = 2**30

    done = fetched()

    assert (done.state, done.error_code) == (DownloadState.FAILED, "disk_full")
    assert "are to stay free" in done.error
    assert hub.bodies() == []


def test_a_disk_that_fills_up_meanwhile_is_told_of(
    hub: Hub,
    model: Content,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_space(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(transfer, "_write_all", no_space)

    assert fetched().error_code == "disk_full"


def test_names_that_lead_out_of_the_cache_are_no_models(hub: Hub, tmp_path: Path) -> None:
    content = make_model(tmp_path / "there", NAME)
    for path in (
        f"../../../{NAME}",
        f"/etc/{NAME}",
        f"a/../../{NAME}",
        "x\0.gguf",
        "a\\b.gguf",
    ):
        hub.add(REPO, content, path)

    done = fetched()

    assert done.error_code == "unsupported"
    assert left_over() == []


def test_a_commit_that_is_a_path_is_refused(hub: Hub, model: Content) -> None:
    hub.commit = "../../../outside"

    assert fetched().error_code == "unsupported"
    assert left_over() == []


@pytest.mark.parametrize("address", ["file:///etc", "ftp://localhost"])
def test_a_redirect_stays_with_http(hub: Hub, model: Content, address: str) -> None:
    hub.redirects_to = address

    done = fetched()

    assert done.error_code == "unsupported"
    assert "neither http nor https" in done.error


def test_redirects_in_a_circle_end(hub: Hub, model: Content) -> None:
    hub.redirects_to = f"{hub.url}/{REPO}/resolve/main/{NAME}?"

    assert fetched().error_code == "unsupported"


def test_what_has_been_spoilt_since_is_fetched_anew(hub: Hub, model: Content) -> None:
    fetched()
    blob = cache() / "models--org--Qwen3-4B-GGUF/blobs" / model.sha256
    blob.write_bytes(bytes(model.size))

    assert fetched().state == DownloadState.FINISHED
    assert Content.of(blob).sha256 == model.sha256


def test_of_a_file_one_revision_is_a_model_and_another_is_told_why(
    hub: Hub, model: Content, tmp_path: Path
) -> None:
    hub.revisions = ("v1.0",)
    fetched()
    hub.commit = "b" * 40
    hub.add(REPO, make_model(tmp_path / "older", NAME, megabytes=0.1))

    done = fetched(revision="v1.0")

    assert (done.state, done.error_code) == (DownloadState.FAILED, "unsupported")
    assert "older revision of" in done.error
    assert "that of `main`" in done.error
