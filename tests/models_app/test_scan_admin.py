"""Rescans asked for in the admin, a scan's report, scan roots and rules."""

from html import unescape
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from models_app.errors import NoWorkerError, UnknownTaskError
from models_app.models import Scan, ScanRoot, ScanState
from models_app.scan_report import SHOWN_FILES, by_reason
from models_app.taskstates import Followed, TaskState
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db

RESCAN = "admin:models_app_discoveredmodel_rescan"
MODELS = "admin:models_app_discoveredmodel_changelist"
REPORT = {
    "scan_id": 7, "files_seen": 12, "seconds": 1.5, "added": ["a"], "updated": [],
    "unchanged": ["b", "c"], "missing": [], "skipped": [],
}  # fmt: skip


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Followed]:
    """Take the worker's place: what is asked for is queued; a test says how it goes on."""
    known: dict[str, Followed] = {}

    def ask(node: str) -> Any:
        known[f"task-{node}"] = Followed(TaskState.PENDING)
        return SimpleNamespace(id=f"task-{node}")

    def follow(task_id: str) -> Followed:
        if task_id not in known:
            raise UnknownTaskError(task_id)
        return known[task_id]

    monkeypatch.setattr("models_app.rescan_progress.request_rescan", ask)
    monkeypatch.setattr("models_app.rescan_progress.without_worker", lambda _nodes: {})
    monkeypatch.setattr("models_app.rescan_progress.follow", follow)
    return known


def shown(client: Client, name: str = MODELS) -> str:
    return unescape(client.get(reverse(name)).content.decode())


def test_a_rescan_is_followed_to_its_end(
    admin_client: Client, settings: Settings, tasks: dict[str, Followed]
) -> None:
    settings.MAGI_NODE = "local"

    page = admin_client.post(reverse(RESCAN), follow=True).content.decode()
    assert "it waits for the worker of that node" in page
    assert "disabled>SCANNING" in page

    progress = {"files_seen": 1200, "folder": "/models/big"}
    tasks["task-local"] = Followed(TaskState.RUNNING, progress=progress)
    Scan.objects.create(node="local", state=ScanState.FINISHED, files_seen=1600)
    for name in (MODELS, "admin:models_app_scan_changelist", "admin:index", "admin:system"):
        page = shown(admin_client, name)
        assert 'max="1600" value="1200"' in page
        assert "1,200 files so far" in page
        assert "/models/big" in page

    tasks["task-local"] = Followed(TaskState.SUCCESS, result=REPORT)
    page = shown(admin_client)
    assert "finished after 1.5 s and 12 files: 1 added, 0 updated, 2 unchanged" in page
    assert reverse("admin:models_app_scan_change", args=[7]) in page
    assert ">RE-SCAN</button>" in page

    tasks["task-local"] = Followed(TaskState.FAILURE)
    assert "it failed. The worker's log says why." in shown(admin_client)

    tasks.clear()  # its result is kept no longer
    assert "Rescan of local" not in shown(admin_client)


def test_how_a_rescan_ended_is_not_told_for_ever(
    admin_client: Client, tasks: dict[str, Followed], monkeypatch: pytest.MonkeyPatch
) -> None:
    admin_client.post(reverse(RESCAN))
    tasks["task-local"] = Followed(TaskState.SUCCESS, result=REPORT)
    assert "finished after" in shown(admin_client)

    monkeypatch.setattr("models_app.rescan_progress.TOLD_S", 0)

    assert "finished after" not in shown(admin_client)


def test_each_node_with_scan_roots_is_scanned_if_it_has_a_worker(
    admin_client: Client,
    settings: Settings,
    tasks: dict[str, Followed],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.MAGI_NODE = "local"
    for node in ("studio", "attic"):
        ScanRoot.objects.create(node=node, path="/models")
    away = {"attic": NoWorkerError("attic")}
    monkeypatch.setattr("models_app.rescan_progress.without_worker", lambda _nodes: away)

    page = unescape(admin_client.post(reverse(RESCAN), follow=True).content.decode())

    assert set(tasks) == {"task-local", "task-studio"}
    assert "Not rescanned: No worker of node 'attic' answers." in page


def test_a_rescan_is_asked_for_by_post_and_by_who_may() -> None:
    client = Client()
    client.force_login(User.objects.create_user("ada", is_staff=True))

    assert client.get(reverse(RESCAN)).status_code == 405
    assert client.post(reverse(RESCAN)).status_code == 403


def test_the_list_of_models_says_what_the_last_scan_of_each_node_found(
    admin_client: Client,
) -> None:
    Scan.objects.create(node="local", state=ScanState.FINISHED, files_seen=5)
    Scan.objects.create(node="local", state=ScanState.FINISHED, files_seen=71, added=64)
    Scan.objects.create(node="studio", state=ScanState.FAILED)

    page = shown(admin_client)

    assert "71 files, 64 added" in page
    assert "5 files" not in page
    assert '<span class="magi-error">failed</span>' in page


def test_skipped_files_are_grouped_by_reason_with_what_it_means(
    admin_client: Client, make_model: MakeModel
) -> None:
    model = make_model("new")
    duplicates = [
        {"path": f"/m/{number}.gguf", "reason": f"duplicate of /n/{number}.gguf"}
        for number in range(SHOWN_FILES + 5)
    ]
    shard = {"path": "/m/x-00002-of-00003.gguf", "reason": "shard 2 of 3"}
    report: dict[str, Any] = {
        "scan_paths": ["/m"], "added": ["new", "gone"], "skipped": [*duplicates, shard],
        "root_errors": [{"path": "/n", "reason": "permission denied"}],
    }  # fmt: skip
    scan = Scan.objects.create(
        node="local", state=ScanState.FINISHED, report=report, skipped=len(duplicates) + 1
    )

    page = unescape(
        admin_client.get(
            reverse("admin:models_app_scan_change", args=[scan.pk])
        ).content.decode()
    )

    assert [(group.reason, group.count) for group in by_reason(report["skipped"])] == [
        ("duplicate", SHOWN_FILES + 5),
        ("shard", 1),
    ]
    assert "the model is registered once" in page
    assert f"The first {SHOWN_FILES} of them" in page
    assert reverse("admin:models_app_discoveredmodel_change", args=[model.pk]) in page
    assert "permission denied." in page
    whole = admin_client.get(reverse("admin:models_app_scan_report", args=[scan.pk]))
    assert whole.json() == report


def test_a_scan_root_is_tested_from_its_row(
    admin_client: Client, settings: Settings, tmp_path: Any
) -> None:
    settings.MAGI_NODE = "local"
    here = ScanRoot.objects.create(node="local", path=str(tmp_path))
    there = ScanRoot.objects.create(node="studio", path="/models")

    page = shown(admin_client, "admin:models_app_scanroot_changelist")
    test = reverse("admin:models_app_scanroot_test", args=[here.pk])
    assert test in page
    assert reverse("admin:models_app_scanroot_test", args=[there.pk]) not in page

    answer = admin_client.post(test, follow=True)
    assert f"Looked into {tmp_path}: 0 model files" in answer.content.decode()


def test_the_rules_say_what_they_come_to(admin_client: Client, make_model: MakeModel) -> None:
    make_model("a", assigned_tier="fast")
    make_model("b", assigned_tier="fast", tier_override="powerful")

    page = admin_client.get(
        reverse("admin:models_app_discoveryrules_changelist"), follow=True
    ).content.decode()

    assert "<strong>2</strong>1 with another tier by hand" in page
