"""The audit itself: what an entry has, who it was, what is left out, how long it stays."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from models_app import audit, retention, tasks
from models_app.acting import acting, actor
from models_app.audit import Change
from models_app.audit_models import Action, AuditEntry, Via
from models_app.audit_targets import Target
from models_app.audit_values import MAX_FIELD_CHARS, SECRET
from models_app.downloads import recovery
from models_app.models import DiscoveredModel
from models_app.rules import override_thinking, override_tier
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db

TARGET = Target("thing", "1", "a thing")


def entry(**fields: Any) -> AuditEntry:
    audit.record(Action.UPDATE, TARGET, **fields)
    return AuditEntry.objects.latest("pk")


# -- what an entry has


def test_an_entry_names_who_what_and_only_the_fields_that_changed() -> None:
    with acting("ada", Via.ADMIN):
        written = entry(
            before={"name": "a", "limits": {"low": 1, "high": 9}},
            after={"name": "a", "limits": {"low": 2, "high": 9}, "more": [1]},
        )

    assert (written.who, written.via, written.action) == ("ada", "admin", "update")
    assert (written.target_kind, written.target_id, written.called) == ("thing", "1", "a thing")
    assert written.before == {"limits": {"low": 1}}
    assert written.after == {"limits": {"low": 2}, "more": [1]}


def test_an_entry_costs_one_insert(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with transaction.atomic(), django_assert_num_queries(1) as queries:
        audit.record(Action.UPDATE, TARGET, before={"a": 1}, after={"a": 2})

    assert queries.captured_queries[0]["sql"].startswith("INSERT INTO")


def test_many_entries_cost_one_insert(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    with transaction.atomic(), django_assert_num_queries(1):
        audit.record_each(Action.DELETE, [Change(TARGET, {"a": number}) for number in range(9)])

    assert AuditEntry.objects.count() == 9


def test_what_did_not_change_leaves_no_entry() -> None:
    audit.record_change(Action.UPDATE, TARGET, {"a": 1}, {"a": 1})

    assert not AuditEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_change_that_is_rolled_back_leaves_no_entry(make_model: MakeModel) -> None:
    model = make_model()

    with transaction.atomic():
        override_tier(model.model_id, "powerful")
        assert AuditEntry.objects.count() == 1
        transaction.set_rollback(True)

    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (timezone.now().replace(microsecond=0), str),
        (float("inf"), "inf"),
        ("a\x00b\udc80", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"),
        ({2, 3}, [2, 3]),
    ],
)
def test_whatever_a_field_holds_can_be_written(value: object, kept: object) -> None:
    written = entry(after={"field": value}).after

    assert written is not None
    assert isinstance(written["field"], str) if kept is str else written == {"field": kept}


def test_a_field_of_a_megabyte_is_told_of_and_not_kept() -> None:
    written = entry(after={"report": "x" * 2**20, "node": "local"})

    assert written.after == {"report": "(1,048,578 characters, not kept)", "node": "local"}
    assert MAX_FIELD_CHARS < 2**20


# -- who it was


def test_without_a_request_it_is_whoever_started_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ada")

    written = entry()

    assert (written.who, written.via) == ("ada", "command")


def test_who_a_service_was_told_counts_where_no_request_says_better() -> None:
    assert entry(who="startup").who == "startup"
    with acting("ada", Via.API):
        assert entry(who="startup").who == "ada"


def test_in_a_workers_task_it_is_magi(monkeypatch: pytest.MonkeyPatch) -> None:
    def waiting(node: str) -> list[int]:
        entry()  # a task that changes something
        return []

    monkeypatch.setattr(recovery, "waiting", waiting)

    tasks.resume_downloads("local")

    written = AuditEntry.objects.get()
    assert (written.who, written.via) == ("worker", "system")


def test_scan_roots_that_a_workers_scan_takes_from_the_settings_are_nobodys(
    settings: Settings, tmp_path: Any
) -> None:
    settings.MODEL_SCAN_PATH = [tmp_path]
    tasks.rescan("local", False, "ada")
    settings.MODEL_SCAN_PATH = []

    made = AuditEntry.objects.get()

    assert (made.via, made.who, made.action) == ("system", "settings", "create")
    assert made.after == {
        "node": "local", "path": str(tmp_path), "kind": "directory", "from_settings": True,
    }  # fmt: skip


def test_one_persons_change_is_never_anothers() -> None:
    """Two requests are answered at once, in two threads of one process."""
    both = threading.Barrier(2)
    seen: dict[str, str] = {}

    def change(name: str) -> None:
        with acting(name, Via.API):
            both.wait(10)
            seen[name] = actor().who
            both.wait(10)

    threads = [threading.Thread(target=change, args=[name]) for name in ("ada", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert seen == {"ada": "ada", "bob": "bob"}


@pytest.mark.django_db(transaction=True)
def test_of_two_writers_each_entry_says_what_it_found(make_model: MakeModel) -> None:
    model_id = make_model().model_id

    at_once(
        *(lambda tier=tier: override_tier(model_id, tier) for tier in ("powerful", "balanced")),
        lambda: override_thinking(model_id, thinking=True),
    )

    changes = list(AuditEntry.objects.filter(after__has_key="tier_override").order_by("pk"))
    first, second = changes
    assert first.before == {"tier_override": ""}
    assert second.before == first.after
    model = DiscoveredModel.objects.get()
    assert second.after == {"tier_override": model.tier_override}
    assert model.thinking_override is True
    assert AuditEntry.objects.count() == 3


def at_once(*calls: Callable[[], object]) -> None:
    together = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> None:
        try:
            together.wait(10)
            call()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)


# -- secrets


@pytest.mark.parametrize(
    "values",
    [
        {"password": "hunter2"},
        {"api_key": "hunter2"},
        {"HF_TOKEN": "hunter2"},
        {"hash": "hunter2"},
        {"run_settings": {"authorization": "hunter2"}},
        {"run_settings": {"extra_args": ["--api-key", "hunter2"]}},
        {"run_settings": {"extra_args": ["--hf-token=hunter2"]}},
        {"notes": "see https://ada:hunter2@example.org/"},
        {"notes": "Bearer magi_" + "0123456789abcdef" * 4, "hunter2": 1},
    ],
)
def test_no_secret_is_kept(values: dict[str, Any]) -> None:
    written = entry(before={}, after=values)

    text = str(written.after)
    assert SECRET in text
    assert "hunter2" not in text.replace("'hunter2': 1", "")
    assert "0123456789abcdef" not in text


def test_that_a_secret_changed_is_told() -> None:
    written = entry(before={"password": "a"}, after={"password": "b"})

    assert (written.before, written.after) == ({"password": SECRET}, {"password": SECRET})


def test_what_only_sounds_like_a_secret_is_kept() -> None:
    values = {
        "max_tokens": 5,
        "tokenizer": "/models/a.spm",
        "extra_args": ["--cache-type-k", "q8_0", "--keep", "5"],
        "password": "",
    }

    assert entry(after=values).after == values


# -- how long it stays


def aged(days: float) -> AuditEntry:
    audit.record(Action.UPDATE, TARGET)
    row = AuditEntry.objects.latest("pk")
    AuditEntry.objects.filter(pk=row.pk).update(at=timezone.now() - timedelta(days=days))
    return row


def test_entries_are_pruned_by_age(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "CHUNK", 2)
    settings.MAGI_AUDIT_DAYS = 10
    for days in (11, 12, 13):
        aged(days)
    young = aged(9)

    assert audit.prune() == 3
    assert list(AuditEntry.objects.all()) == [young]
    assert audit.prune() == 0


def test_with_no_days_entries_stay_for_good(settings: Settings) -> None:
    settings.MAGI_AUDIT_DAYS = 0
    aged(5000)

    audit.prune()

    assert AuditEntry.objects.count() == 1
