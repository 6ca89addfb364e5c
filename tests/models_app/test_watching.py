import pytest
from watchfiles import Change

from models_app.watching import Landings, matters

ROOT = "/blobs/manifests"  # what the root itself is called says nothing
FOLDERS = {f"{ROOT}/Qwen3-4B", f"{ROOT}/models--Qwen--Qwen2.5-7B", f"{ROOT}/blobs/x"}


def does_matter(change: Change, name: str) -> bool:
    return matters(change, f"{ROOT}/{name}", [ROOT], is_folder=FOLDERS.__contains__)


@pytest.mark.parametrize("change", list(Change))
@pytest.mark.parametrize(
    "name",
    [
        "Qwen3-4B-Q4_K_M.gguf",
        "publisher/repo/MODEL.GGUF",
        "models--Qwen--Qwen3/snapshots/abc/Qwen3-4B-Q4_K_M.gguf",
        "blobs/x.gguf",
        "gemma/2b-it-sfp.sbs",
        "gemma/tokenizer.spm",
        "manifests/registry.ollama.ai/library/qwen3/4b",
    ],
)
def test_a_model_file_matters_whatever_happens_to_it(change: Change, name: str) -> None:
    assert does_matter(change, name)


@pytest.mark.parametrize("change", list(Change))
@pytest.mark.parametrize(
    "name",
    [
        "models--Qwen--Qwen3/blobs/0123abcd",
        "models--Qwen--Qwen3/blobs/0123abcd.incomplete",
        "models--Qwen--Qwen3/refs/main",
        ".locks/models--Qwen--Qwen3/0123abcd.lock",
        "blobs/sha256-0123abcd",
        "blobs/x",
        "Qwen3-4B-Q4_K_M.gguf.part",
    ],
)
def test_the_pieces_of_a_download_do_not(change: Change, name: str) -> None:
    assert not does_matter(change, name)


@pytest.mark.parametrize(
    ("change", "name", "expected"),
    [
        pytest.param(Change.added, "Qwen3-4B", True, id="a folder moved in"),
        pytest.param(Change.added, "models--Qwen--Qwen2.5-7B", True, id="a dot in its name"),
        pytest.param(Change.modified, "Qwen3-4B", False, id="a folder something changed in"),
        pytest.param(Change.deleted, "Qwen2-7B", True, id="a folder moved out"),
        pytest.param(Change.added, "README.md", False, id="a file beside the models"),
        pytest.param(Change.modified, "config.json", False, id="such a file changed"),
        pytest.param(Change.deleted, "", True, id="the root itself"),
    ],
)
def test_a_folder_is_told_by_its_own_name_alone(
    change: Change, name: str, expected: bool
) -> None:
    assert does_matter(change, name) is expected


@pytest.fixture
def landings() -> Landings:
    return Landings(settle_s=2.0, max_wait_s=30.0)


def test_nothing_is_due_while_nothing_changed(landings: Landings) -> None:
    assert not landings.is_due(1000.0)


def test_a_file_is_due_when_it_has_come_to_rest(landings: Landings) -> None:
    landings.note("a.gguf", 10.0)

    assert not landings.is_due(11.9)
    assert landings.is_due(12.0)


def test_a_file_that_grows_for_an_hour_is_due_once_at_its_end(landings: Landings) -> None:
    due = []
    for second in range(3600):
        landings.note("a.gguf", float(second))
        due.append(landings.is_due(float(second)))

    assert not any(due)
    assert landings.is_due(3601.0)


def test_a_burst_of_files_is_due_once(landings: Landings) -> None:
    due = []
    for number in range(20):
        landings.note(f"{number}.gguf", float(number))
        due.append(landings.is_due(float(number)))

    assert not any(due)
    assert landings.is_due(21.0)


def test_a_whole_file_does_not_wait_for_ever_for_one_that_grows(landings: Landings) -> None:
    landings.note("whole.gguf", 0.0)
    landings.note("grows.gguf", 29.0)
    assert not landings.is_due(29.0)

    landings.note("grows.gguf", 30.0)

    assert landings.is_due(30.0)


def test_what_a_rescan_has_seen_is_not_due_again(landings: Landings) -> None:
    landings.note("whole.gguf", 0.0)
    landings.note("grows.gguf", 30.0)

    landings.forget_settled(30.0)

    assert not landings.is_due(31.0)
    assert landings.is_due(32.0)
    landings.forget_settled(32.0)
    assert not landings.is_due(1000.0)


def test_what_could_not_be_asked_for_stays_due(landings: Landings) -> None:
    landings.note("a.gguf", 0.0)

    assert landings.is_due(2.0)
    assert landings.is_due(600.0)
