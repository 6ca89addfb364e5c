"""What was decided of models, scan roots and rules, by whom and from where: in the audit."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from models_app import roots, tasks
from models_app.audit_models import AuditEntry
from models_app.models import DiscoveryRules, ScanRoot
from models_app.rescans import request_rescan
from tests.conftest import MakeModel
from tests.pings import pongs

pytestmark = pytest.mark.django_db

MODEL = "qwen3_4p0b_q4km_fast"


@pytest.fixture(autouse=True)
def _at_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "root")


class Queued:
    """What is known of a task that no worker has taken yet."""

    id = "11111111-2222-3333-4444-555555555555"

    def ready(self) -> bool:
        return False


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A worker that answers the ping; return what is queued for it."""
    queued: list[tuple[Any, ...]] = []

    def apply_async(args: tuple[Any, ...], **_options: object) -> "Queued":
        queued.append(args)
        return Queued()

    monkeypatch.setattr("celery.app.control.Control.broadcast", pongs)
    monkeypatch.setattr("models_app.tasks.rescan.apply_async", apply_async)
    return queued


def told() -> list[tuple[str, str, str, str]]:
    """Return who did what to which by which door, the oldest first."""
    entries = AuditEntry.objects.exclude(action__in=["login", "password"]).order_by("pk")
    return [(entry.who, entry.via, entry.action, entry.target_name) for entry in entries]


def last() -> tuple[Any, Any]:
    entry = AuditEntry.objects.latest("pk")
    return entry.before, entry.after


# -- overrides


def test_a_tier_and_thinking_by_the_api_are_told(client: Client, make_model: MakeModel) -> None:
    make_model()
    for what, value in (("tier", "powerful"), ("thinking", True), ("tier", None)):
        client.put(
            f"/api/models/{MODEL}/{what}", {what: value}, content_type="application/json"
        )

    entries = AuditEntry.objects.order_by("pk")
    assert [(each.who, each.via, each.action, each.target_id) for each in entries] == [
        ("API", "api", "override", MODEL)
    ] * 3
    assert [(each.before, each.after) for each in entries] == [
        ({"tier_override": ""}, {"tier_override": "powerful"}),
        ({"thinking_override": None}, {"thinking_override": True}),
        ({"tier_override": "powerful"}, {"tier_override": ""}),
    ]


def test_an_override_in_the_admin_is_told(admin_client: Client, make_model: MakeModel) -> None:
    page = reverse("admin:models_app_discoveredmodel_change", args=[make_model().pk])

    admin_client.post(page, {"tier_override": "powerful", "thinking_override": "", "notes": ""})
    admin_client.post(
        page, {"tier_override": "powerful", "thinking_override": "", "notes": "slow"}
    )

    assert [(who, via, what) for who, via, what, _ in told()] == [
        ("admin", "admin", "override"),
        ("admin", "admin", "update"),
    ]
    assert last() == ({"notes": ""}, {"notes": "slow"})


def test_overrides_of_a_registry_file_are_an_import(
    make_model: MakeModel, tmp_path: Path
) -> None:
    make_model()
    make_model("other")
    file = tmp_path / "model_registry.json"
    file.write_text(json.dumps({"models": {MODEL: {"tier_override": "powerful"}, "other": {}}}))

    call_command("registry", "import", str(file))

    assert told() == [("root", "command", "import", MODEL.upper())]
    assert last() == ({"tier_override": ""}, {"tier_override": "powerful"})


# -- scan roots and rules


def test_scan_roots_that_follow_the_settings_are_told_as_such(
    settings: Settings, tmp_path: Path
) -> None:
    settings.MODEL_SCAN_PATH = [tmp_path]
    roots.sync_roots("local")
    roots.sync_roots("local")
    settings.MODEL_SCAN_PATH = []
    roots.sync_roots("local")

    assert told() == [
        ("settings", "system", what, str(tmp_path)) for what in ("create", "delete")
    ]


def test_a_scan_root_that_moves_keeps_its_history(admin_client: Client) -> None:
    root = ScanRoot.objects.create(node="local", path="/srv/a")
    page = reverse("admin:models_app_scanroot_change", args=[root.pk])

    admin_client.post(page, {"node": "local", "path": "/srv/b", "kind": "directory"})

    entry = AuditEntry.objects.latest("pk")
    assert (entry.target_id, entry.target_name) == (str(root.pk), "/srv/b")
    assert last() == (
        {"path": "/srv/a", "is_enabled": True},
        {"path": "/srv/b", "is_enabled": False},
    )


def test_thresholds_are_told(admin_client: Client) -> None:
    page = reverse("admin:models_app_discoveryrules_change", args=[1])
    rules = DiscoveryRules.objects.create(pk=1)

    admin_client.post(
        page, {"powerful_min": "20", "fast_max": "7.0", "thinking_words": rules.thinking_words}
    )

    assert told() == [("admin", "admin", "update", "Discovery rules")]
    assert last() == ({"powerful_min": 14.0}, {"powerful_min": 20.0})


# -- rescans


def test_a_rescan_by_the_api_is_told(client: Client, worker: list[tuple[Any, ...]]) -> None:
    client.post("/api/models/rescan?wait=0")

    assert told() == [("API", "api", "rescan", "local")]
    assert last() == (None, {"prune": False})
    assert worker == [("local", False, "API")]


def test_the_worker_is_told_who_asked(worker: list[tuple[Any, ...]]) -> None:
    request_rescan("local", prune=True)

    assert worker == [("local", True, "root")]
    assert last() == (None, {"prune": True})


def test_a_rescan_in_the_admin_is_told(
    admin_client: Client, worker: list[tuple[Any, ...]]
) -> None:
    root = ScanRoot.objects.create(node="local", path="/srv/a")

    admin_client.post(
        reverse("admin:models_app_scanroot_changelist"),
        {"action": "rescan_nodes", "_selected_action": [root.pk]},
    )

    assert told() == [("admin", "admin", "rescan", "local")]
    assert worker == [("local", False, "admin")]


def test_a_rescan_here_and_now_is_told(settings: Settings, tmp_path: Path) -> None:
    settings.MODEL_SCAN_PATH = [tmp_path]

    call_command("rescan", json=True, stdout=None)

    assert ("root", "command", "rescan", "local") in told()


@pytest.mark.django_db(transaction=True)
def test_a_rescan_that_is_not_queued_leaves_no_entry(
    worker: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError

    monkeypatch.setattr("models_app.tasks.rescan.apply_async", refuse)

    with pytest.raises(Exception, match="cannot be reached"):
        request_rescan("local")

    assert told() == []
    assert worker == []


def test_what_a_worker_prunes_is_told_as_magis_for_whoever_asked(
    make_model: MakeModel, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("not a model")
    settings.MODEL_SCAN_PATH = [tmp_path]
    (root,) = roots.sync_roots("local")
    make_model(root=root, file_path=str(tmp_path / "gone.gguf"))

    tasks.rescan("local", True, "ada")

    assert ("ada", "system", "delete", MODEL.upper()) in told()
