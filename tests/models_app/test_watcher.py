"""Watching real folders, with the queue stood in for."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from models_app import watcher
from models_app.errors import QueueUnavailableError
from models_app.models import ScanRoot
from models_app.watcher import Watcher
from models_app.watching import Landings

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE_S = 30.0  # a watchdog, far above what anything takes


@dataclass
class Queue:
    """Counts the rescans that were asked for; refuses as often as it is told."""

    asked: int = 0
    refuses: int = 0
    nodes: set[str] = field(default_factory=set)

    def enqueue(self, _task: object, *_args: object, node: str, wants_result: bool) -> None:
        assert not wants_result  # nobody would ask for it
        if self.refuses:
            self.refuses -= 1
            raise QueueUnavailableError
        self.nodes.add(node)
        self.asked += 1

    def until_asked(self, times: int) -> None:
        until(lambda: self.asked >= times)


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    queue = Queue()
    monkeypatch.setattr(watcher, "enqueue", queue.enqueue)
    monkeypatch.setattr(watcher, "TICK_MS", 50)
    monkeypatch.setattr(watcher, "STEP_MS", 20)
    monkeypatch.setattr(watcher, "RETRY_S", 0.05)
    return queue


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "disk" / "models"
    folder.mkdir(parents=True)
    ScanRoot.objects.create(node="local", path=str(folder))
    return folder


@pytest.fixture
def start_watching(queue: Queue) -> Iterator[Callable[[], None]]:
    """Return a function that starts a watcher and waits for its first rescan."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def start() -> None:
        watching = Watcher("local", stop, landings=Landings(settle_s=0.2), reread_s=0.3)
        threads.append(threading.Thread(target=watching.run))
        threads[0].start()
        queue.until_asked(1)

    yield start
    stop.set()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@pytest.mark.parametrize("polls", ["", "true"])
def test_a_model_that_lands_is_asked_for_once(
    root: Path,
    queue: Queue,
    start_watching: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    polls: str,
) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", polls)
    start_watching()

    (root / "Qwen3-4B-Q4_K_M.gguf").write_bytes(b"GGUF")

    queue.until_asked(2)
    assert queue.nodes == {"local"}


def test_a_folder_that_is_moved_in_is_asked_for(
    root: Path, tmp_path: Path, queue: Queue, start_watching: Callable[[], None]
) -> None:
    elsewhere = tmp_path / "Qwen3-4B"
    elsewhere.mkdir()
    (elsewhere / "Qwen3-4B-Q4_K_M.gguf").write_bytes(b"GGUF")
    start_watching()

    elsewhere.rename(root / "Qwen3-4B")

    queue.until_asked(2)


def test_what_is_no_model_is_not_asked_for(
    root: Path, queue: Queue, start_watching: Callable[[], None]
) -> None:
    start_watching()

    (root / "README.md").write_text("Hello")
    (root / "x.gguf.part").write_bytes(b"GGUF")
    time.sleep(1.0)

    assert queue.asked == 1


def test_a_root_that_is_added_is_watched(
    root: Path, tmp_path: Path, queue: Queue, start_watching: Callable[[], None]
) -> None:
    start_watching()
    added = tmp_path / "added"
    added.mkdir()

    ScanRoot.objects.create(node="local", path=str(added))
    ScanRoot.objects.create(node="elsewhere", path=str(tmp_path))
    queue.until_asked(2)  # as soon as the root is seen
    (added / "x.gguf").write_bytes(b"GGUF")

    queue.until_asked(3)


def test_a_root_that_vanishes_and_comes_back_is_watched_again(
    root: Path, queue: Queue, start_watching: Callable[[], None]
) -> None:
    start_watching()

    shutil.rmtree(root)
    queue.until_asked(2)
    root.mkdir()
    queue.until_asked(3)
    (root / "x.gguf").write_bytes(b"GGUF")

    queue.until_asked(4)


def rename_root(root: Path) -> None:
    root.rename(root.with_name("old"))
    root.mkdir()


def rename_the_folder_above(root: Path) -> None:
    root.parent.rename(root.parent.with_name("old"))
    root.mkdir(parents=True)


def make_root_anew(root: Path) -> None:
    root.rmdir()
    root.mkdir()  # often with the inode it had


@pytest.mark.parametrize("put", [rename_root, rename_the_folder_above, make_root_anew])
def test_a_root_in_whose_place_another_folder_is_put_is_watched(
    root: Path, queue: Queue, start_watching: Callable[[], None], put: Callable[[Path], None]
) -> None:
    start_watching()

    put(root)
    queue.until_asked(2)
    (root / "x.gguf").write_bytes(b"GGUF")

    queue.until_asked(3)


def test_without_any_root_it_waits_for_one(
    tmp_path: Path, queue: Queue, start_watching: Callable[[], None]
) -> None:
    ScanRoot.objects.create(node="local", path=str(tmp_path / "none"))
    ScanRoot.objects.create(node="local", path=str(tmp_path / "nul\0"[:-1]), is_enabled=False)
    start_watching()

    (tmp_path / "none").mkdir()

    queue.until_asked(2)


def test_a_queue_that_is_down_is_asked_again(
    root: Path, queue: Queue, start_watching: Callable[[], None]
) -> None:
    start_watching()
    queue.refuses = 3

    (root / "x.gguf").write_bytes(b"GGUF")

    queue.until_asked(2)
    assert queue.refuses == 0


def test_a_database_that_is_down_leaves_the_roots_as_they_were(
    root: Path,
    queue: Queue,
    start_watching: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = threading.Event()

    def refuse(**_filter: object) -> Any:
        refused.set()
        msg = "the database is gone"
        raise OperationalError(msg)

    start_watching()
    monkeypatch.setattr(ScanRoot.objects, "filter", refuse)
    assert refused.wait(PATIENCE_S)

    (root / "x.gguf").write_bytes(b"GGUF")

    queue.until_asked(2)


@pytest.mark.parametrize("error", [OSError, RuntimeError])
def test_roots_that_cannot_be_watched_are_rescanned_now_and_then(
    root: Path,
    queue: Queue,
    start_watching: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
) -> None:
    def refuse(*_paths: str, **_options: object) -> Iterator[Any]:
        msg = "OS file watch limit reached."
        raise error(msg)

    monkeypatch.setattr(watcher, "watch", refuse)

    start_watching()

    queue.until_asked(4)
