"""Copies that break: who has gone, what is wrong with the bytes, and what is left of it."""

import errno
import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django import Settings

from models_app import registry
from models_app.copies import as_on, nodes_of
from models_app.copy_models import ModelCopy
from models_app.download_models import Download, DownloadState
from models_app.downloads import asking, offers, recovery, service, worker
from models_app.downloads.left_parts import left_parts, remove
from models_app.downloads.worker import Look
from models_app.models import DiscoveredModel, ScanRoot
from models_app.worker_end import stopping
from tests.models_app.copying.nodes import TwoNodes
from tests.models_app.hubs import Content, make_model

NAME = "My-Finetune-7B-Q8_0.gguf"
STALL = 1_000_000


@pytest.fixture
def made(nodes: TwoNodes) -> Content:
    return make_model(nodes.files("a"), NAME, megabytes=3)


@pytest.fixture
def model(nodes: TwoNodes, made: Content) -> DiscoveredModel:
    return nodes.scanned(nodes.files("a"))


def left_over(settings: Settings) -> list[int]:
    """Return the sizes of the files that node b has."""
    return [path.stat().st_size for path in settings.MAGI_COPY_DIR.rglob("*.*")]


def has_it_too(nodes: TwoNodes, model: DiscoveredModel, made: Content, node: str) -> None:
    there = nodes.files(node) / NAME
    there.parent.mkdir(parents=True)
    shutil.copy2(made.path, there)
    root = ScanRoot.objects.create(node=node, path=str(there.parent))
    files = {"file_path": str(there), "blob_path": str(there)}
    ModelCopy.objects.create(model=model, node=node, root=root, **files)


def run(row: Download, on_tick: object = None) -> Download:
    done = worker.run(row.pk, on_tick=on_tick)  # type: ignore[arg-type]
    assert done is not None
    return done


def test_wrong_bytes_on_the_way_are_refused_and_removed(
    nodes: TwoNodes, model: DiscoveredModel, settings: Settings
) -> None:
    nodes.wire.trouble.is_wrong = True

    done = nodes.copied(model)

    assert (done.state, done.error_code) == (DownloadState.FAILED, "wrong_hash")
    assert "other bytes than node a tells of" in done.error
    assert f"manage.py models verify {model.model_id}" in done.error
    assert left_over(settings) == []
    assert not ModelCopy.objects.exists()


def test_after_wrong_bytes_the_same_copy_can_be_asked_for_again(
    nodes: TwoNodes, model: DiscoveredModel
) -> None:
    nodes.wire.trouble.is_wrong = True
    first = nodes.copied(model)
    nodes.wire.trouble.is_wrong = False

    again = nodes.copied(model)

    assert (again.pk, again.state) == (first.pk, DownloadState.FINISHED)
    assert nodes.wire.asked == [("/0", 0), ("/0", 0)]


def test_a_disk_without_room_is_found_out_before_a_byte_comes(
    nodes: TwoNodes, model: DiscoveredModel, settings: Settings
) -> None:
    settings.MAGI_DOWNLOAD_RESERVE_MIB = 2**30

    done = nodes.copied(model)

    assert (done.state, done.error_code) == (DownloadState.FAILED, "disk_full")
    assert nodes.wire.asked == []


def test_a_disk_that_takes_no_more_ends_it_and_keeps_what_came(
    nodes: TwoNodes, model: DiscoveredModel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("models_app.downloads.transfer._write_all", full)
        done = nodes.copied(model)

    assert (done.state, done.error_code) == (DownloadState.FAILED, "disk_full")
    assert nodes.copied(model).state == DownloadState.FINISHED


def test_a_cancelled_copy_ends_while_the_other_node_stalls_and_goes_on_at_its_byte(
    nodes: TwoNodes, model: DiscoveredModel
) -> None:
    nodes.wire.trouble.stalls.append(STALL)

    def cancel(look: Look) -> None:
        if look.row.done_bytes == STALL:
            service.cancel_download(look.row)

    done = run(nodes.wanted(model), cancel)

    assert done.state == DownloadState.CANCELLED
    assert not ModelCopy.objects.exists()
    again = nodes.copied(model)
    assert (again.pk, again.state) == (done.pk, DownloadState.FINISHED)
    assert nodes.wire.asked[-1] == ("/0", STALL)


def test_what_a_cancelled_copy_has_left_is_removed_after_some_days(
    nodes: TwoNodes, model: DiscoveredModel, settings: Settings
) -> None:
    nodes.wire.trouble.stalls.append(STALL)

    def cancel(look: Look) -> None:
        if look.row.done_bytes == STALL:
            service.cancel_download(look.row)

    run(nodes.wanted(model), cancel)

    now = timezone.now()
    assert left_over(settings) == [STALL]
    assert left_parts("b", now) == []
    later = left_parts("b", now + timedelta(days=settings.MAGI_PARTIAL_DAYS + 1))
    assert remove(later) == 1
    assert left_over(settings) == []


def test_what_a_failed_copy_has_left_stays_until_its_row_is_about_to_go(
    nodes: TwoNodes, model: DiscoveredModel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models_app.downloads.control.MAX_FAILURES", 1)
    nodes.wire.trouble.cuts.append(STALL)

    assert nodes.copied(model).state == DownloadState.FAILED

    now = timezone.now()
    almost = now + timedelta(days=settings.MAGI_HISTORY_DAYS - 2)
    assert left_parts("b", almost) == []
    assert len(left_parts("b", almost + timedelta(days=1, minutes=1))) == 1
    settings.MAGI_HISTORY_DAYS = 0  # rows stay for good, and so do they
    assert left_parts("b", now + timedelta(days=3650)) == []


def test_nobody_gives_anything_away_once_it_is_cancelled(
    nodes: TwoNodes, model: DiscoveredModel
) -> None:
    nodes.wire.trouble.stalls.append(STALL)
    run(nodes.wanted(model), lambda look: service.cancel_download(look.row))

    nodes.wait_for_offers()  # they end by themselves


def test_a_worker_of_the_source_that_dies_is_asked_again(
    nodes: TwoNodes, model: DiscoveredModel
) -> None:
    nodes.wire.trouble.stalls.append(STALL)
    was_killed: list[bool] = []

    def kill(look: Look) -> None:
        if look.row.done_bytes == STALL and not was_killed:
            was_killed.append(True)
            nodes.kill_offers()
            nodes.wire.drop()

    done = run(nodes.wanted(model), kill)

    assert (done.state, done.error) == (DownloadState.FINISHED, "")
    assert nodes.wire.asked == [("/0", 0), ("/0", STALL)]
    assert len(nodes.offers) == 2


def test_while_the_source_is_silent_a_copy_waits_and_takes_no_place(
    nodes: TwoNodes, model: DiscoveredModel
) -> None:
    nodes.wire.trouble.stalls.append(STALL)

    def die(look: Look) -> None:
        if look.row.done_bytes == STALL:
            nodes.silent.add("a")
            nodes.kill_offers()
            nodes.wire.drop()

    done = run(nodes.wanted(model), die)

    assert (done.state, done.is_wanted, done.error_code) == (DownloadState.QUEUED, True, "")
    assert done.error.startswith("Waits: No worker of node 'a' answers.")
    assert run(done).state == DownloadState.QUEUED
    assert recovery.waiting("b") == [done.pk]
    nodes.silent.clear()
    assert (run(done).state, nodes.wire.asked[-1]) == (DownloadState.FINISHED, ("/0", STALL))


def test_another_node_that_has_it_takes_the_place_of_a_silent_source(
    nodes: TwoNodes, model: DiscoveredModel, made: Content
) -> None:
    nodes.wire.trouble.stalls.append(STALL)
    has_it_too(nodes, model, made, "c")

    def die(look: Look) -> None:
        if look.row.done_bytes == STALL:
            nodes.silent.add("a")
            nodes.kill_offers()
            nodes.wire.drop()

    waiting = run(nodes.wanted(model, from_node="a"), die)
    assert (waiting.state, waiting.from_node) == (DownloadState.QUEUED, "a")

    done = run(waiting)

    assert (done.state, done.from_node, done.error) == (DownloadState.FINISHED, "c", "")
    assert nodes.wire.asked == [("/0", 0), ("/0", STALL)]
    assert nodes_of(model) == ("a", "b", "c")


def test_a_node_whose_files_cannot_be_used_takes_nobodys_place(
    nodes: TwoNodes, model: DiscoveredModel, made: Content
) -> None:
    has_it_too(nodes, model, made, "c")
    ModelCopy.objects.update(problem="its bytes are not what they should be")
    row = nodes.wanted(model)
    nodes.silent.add("a")

    done = run(row)

    assert (done.state, done.from_node) == (DownloadState.QUEUED, "a")


def test_a_source_that_never_offers_leaves_the_copy_waiting(
    nodes: TwoNodes, model: DiscoveredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "request_offer", lambda _row: None)
    monkeypatch.setattr(asking, "OFFER_S", 0.5)

    done = nodes.copied(model)

    assert done.state == DownloadState.QUEUED
    assert "does not offer them" in done.error


def test_a_source_that_cannot_be_reached_is_told_of(
    nodes: TwoNodes, model: DiscoveredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models_app.downloads.offering.url_of", lambda *_a: "http://[::1]:9")

    done = nodes.copied(model)

    assert (done.state, done.error_code) == (DownloadState.FAILED, "unavailable")
    assert "MAGI_NODE_ADDRESS" in done.error
    assert "http://[::1]:9" in done.error


def test_a_node_with_another_secret_key_gets_nothing(
    nodes: TwoNodes, model: DiscoveredModel, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr(asking, "token_for", lambda *_a: "0" * 64)

    done = nodes.copied(model)

    assert (done.state, done.error_code) == (DownloadState.FAILED, "unavailable")
    assert "another MAGI_SECRET_KEY" in done.error
    assert left_over(settings) == []
    monkeypatch.setattr(asking, "token_for", offers.token_for)
    assert nodes.copied(model).state == DownloadState.FINISHED


def test_a_destination_whose_worker_ends_leaves_it_to_the_next(
    nodes: TwoNodes, model: DiscoveredModel
) -> None:
    nodes.wire.trouble.stalls.append(STALL)

    def end(look: Look) -> None:
        if look.row.done_bytes == STALL:
            stopping.set()

    try:
        done = worker.run(nodes.wanted(model).pk, on_tick=end)
    finally:
        stopping.clear()
    nodes.kill_offers()

    assert done is not None
    assert (done.state, done.error) == (DownloadState.QUEUED, "")
    assert recovery.waiting("b") == [done.pk]
    assert (run(done).state, nodes.wire.asked[-1]) == (DownloadState.FINISHED, ("/0", STALL))


def test_one_that_was_killed_between_its_last_byte_and_the_scan_is_finished(
    nodes: TwoNodes, model: DiscoveredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_args: object) -> None:
        raise KeyboardInterrupt

    row = nodes.wanted(model)
    with monkeypatch.context() as patched:
        patched.setattr(worker, "register_copy", killed)
        with pytest.raises(KeyboardInterrupt):
            run(row)

    assert run(row).state == DownloadState.FINISHED
    assert nodes.wire.asked == [("/0", 0)]
    assert nodes_of(model) == ("a", "b")


def test_files_that_the_source_has_no_more_end_it_with_a_sentence(
    nodes: TwoNodes, model: DiscoveredModel, made: Content
) -> None:
    made.path.unlink()

    done = nodes.copied(model)

    assert (done.state, done.error_code) == (DownloadState.FAILED, "unsupported")
    assert done.error == (
        "Its files cannot be read on node a: a file is missing. Rescan there."
    )


def test_a_model_that_is_removed_meanwhile_ends_it(
    nodes: TwoNodes, model: DiscoveredModel
) -> None:
    row = nodes.wanted(model)
    DiscoveredModel.objects.all().delete()

    done = run(row)

    assert (done.state, done.error_code) == (DownloadState.FAILED, "unknown")
    assert "registered no longer" in done.error


def test_no_scan_takes_half_a_copy_for_a_model(nodes: TwoNodes, model: DiscoveredModel) -> None:
    nodes.copied(model)
    there = Path(as_on(model, "b").file_path)
    ModelCopy.objects.all().delete()
    there.rename(there.with_name("0" * 64 + ".incomplete"))
    (there.parent / ("1" * 64 + ".part")).write_bytes(b"GGUF")

    report = registry.rescan("b")

    assert report.added == []
    assert DiscoveredModel.objects.count() == 1
