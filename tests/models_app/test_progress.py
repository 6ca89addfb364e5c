from collections.abc import Mapping
from pathlib import Path

import pytest

from models_app import progress
from models_app.progress import scan_failed, scan_finished, scan_progress, scan_started


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    events: list[dict[str, object]] = []

    def publish(kind: str, data: Mapping[str, object]) -> None:
        assert kind == "scan"
        events.append(dict(data))

    monkeypatch.setattr(progress, "publish", publish)
    return events


def test_the_first_file_is_told_at_once(published: list[dict[str, object]]) -> None:
    on_file = scan_progress("local", clock=lambda: 0.0)

    on_file(Path("/models/qwen/x.gguf"), 1)

    assert published == [
        {"node": "local", "state": "running", "files_seen": 1, "folder": "/models/qwen"}
    ]


def test_of_thousands_of_files_five_a_second_are_told(
    published: list[dict[str, object]],
) -> None:
    now = iter(number / 1000 for number in range(1000))
    on_file = scan_progress("local", clock=lambda: next(now))

    for number in range(1000):  # one a millisecond
        on_file(Path("/models/x.gguf"), number + 1)

    assert len(published) == 5
    assert published[1]["files_seen"] == 201


def test_whoever_else_follows_the_scan_is_told_of_every_file(
    published: list[dict[str, object]],
) -> None:
    seen: list[int] = []
    on_file = scan_progress(
        "local", also=lambda _path, number: seen.append(number), clock=lambda: 0.0
    )

    for number in (1, 2, 3):
        on_file(Path("/models/x.gguf"), number)

    assert seen == [1, 2, 3]
    assert len(published) == 1


def test_a_folder_whose_name_is_no_text_is_told_with_question_marks(
    published: list[dict[str, object]],
) -> None:
    scan_progress("local")(Path("/models/\udcff/x.gguf"), 1)

    assert published[0]["folder"] == "/models/�"


def test_a_scan_begins_and_ends(published: list[dict[str, object]]) -> None:
    scan_started("local")
    scan_finished("local", files_seen=7, models_found=5, seconds=0.25)
    scan_failed("local")

    assert [event["state"] for event in published] == ["started", "finished", "failed"]
    assert published[1] == {
        "node": "local",
        "state": "finished",
        "files_seen": 7,
        "models_found": 5,
        "seconds": 0.25,
    }
