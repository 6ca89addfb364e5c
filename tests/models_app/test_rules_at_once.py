"""Tiers and names where several people, or a person and a scan, decide at the same time."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from models_app import registrar, rules
from models_app.models import DiscoveredModel, DiscoveryRules, Tier
from models_app.registry import rescan
from models_app.rows import row_fields
from models_app.rules import override_thinking, override_tier, rename, retier, save_overrides
from tests.at_once import at_once
from tests.conftest import MakeModel
from tests.models_app.ggufs import write_gguf

pytestmark = pytest.mark.django_db(transaction=True)

GRACE_S = 0.3  # for another to get in between, where nothing keeps it out
NAMED = {"family": "qwen", "version": "3", "size_text": "4p0b"}


class Meanwhile:
    """Makes calls in threads, and waits for each a moment only: it may have to wait for us."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []

    def __call__(self, call: Callable[[], object]) -> None:
        def make() -> None:
            try:
                call()
            finally:
                connection.close()

        thread = threading.Thread(target=make)
        self._threads.append(thread)
        thread.start()
        thread.join(GRACE_S)

    def wait(self) -> None:
        for thread in self._threads:
            thread.join()


@pytest.fixture
def meanwhile() -> Iterator[Meanwhile]:
    meanwhile = Meanwhile()
    yield meanwhile
    meanwhile.wait()


def test_two_models_that_come_to_one_name_at_once_are_told_apart(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        make_model(name, repo_id=f"org/{name}", **NAMED)
    both_have_names = threading.Barrier(2, timeout=GRACE_S)

    def and_wait_for_the_other(like: Iterable[str]) -> None:
        rename(like)
        with suppress(threading.BrokenBarrierError):  # the other has to wait for us
            both_have_names.wait()

    monkeypatch.setattr(rules, "rename", and_wait_for_the_other)

    at_once([partial(override_thinking, name, thinking=True) for name in "ab"])

    assert list(DiscoveredModel.objects.values_list("display_name", flat=True)) == [
        "QWEN3 4.0B (Reasoning) Q4_K_M [org/a]",
        "QWEN3 4.0B (Reasoning) Q4_K_M [org/b]",
    ]


def test_a_scan_does_not_undo_what_a_person_says_while_it_writes(
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: Meanwhile,
) -> None:
    settings.MODEL_SCAN_PATH = [tmp_path]
    file = write_gguf(tmp_path / "Qwen3-4B-Q4_K_M.gguf")
    (model_id,) = rescan("local").added
    file.write_bytes(file.read_bytes() + b"\0")  # so that it is read again

    def after_a_word_of_a_person(*arguments: Any) -> dict[str, Any]:
        meanwhile(partial(override_thinking, model_id, thinking=True))
        return row_fields(*arguments)

    monkeypatch.setattr(registrar, "row_fields", after_a_word_of_a_person)

    assert rescan("local").updated == [model_id]

    meanwhile.wait()
    model = DiscoveredModel.objects.get()
    assert (model.thinking_override, model.tier) == (True, Tier.POWERFUL)


def test_new_rules_and_an_override_at_once_are_both_heeded(
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: Meanwhile,
) -> None:
    model = make_model("m", size_params=4.0)
    thresholds = DiscoveryRules(pk=1, powerful_min=30.0, fast_max=20.0)
    thresholds.save()
    tier_of = rules.tier_of

    def after_a_word_of_a_person(*arguments: Any) -> str:
        monkeypatch.setattr(rules, "tier_of", tier_of)
        tier = tier_of(*arguments)
        meanwhile(partial(override_thinking, "m", thinking=True))
        return tier

    DiscoveredModel.objects.update(assigned_tier="balanced")
    monkeypatch.setattr(rules, "tier_of", after_a_word_of_a_person)

    retier(thresholds)

    meanwhile.wait()
    model.refresh_from_db()
    assert (model.thinking_override, model.tier) == (True, Tier.POWERFUL)


def test_many_who_decide_about_many_models_wait_for_each_other_and_none_fails(
    make_model: MakeModel,
) -> None:
    names = [f"m{number}" for number in range(4)]
    for name in names:
        make_model(name, repo_id=f"org/{name}", **NAMED)
    forwards = list(DiscoveredModel.objects.order_by("model_id"))
    backwards = list(DiscoveredModel.objects.order_by("-model_id"))
    for model in (*forwards, *backwards):
        model.thinking_override = True
    think = partial(save_overrides, columns=["thinking_override"])

    calls: list[Callable[[], object]] = [
        partial(think, forwards),
        partial(think, backwards),
        partial(retier, DiscoveryRules(pk=1)),
        *(partial(override_tier, name, "balanced") for name in names),
    ]

    at_once(calls)

    decided = DiscoveredModel.objects.values_list("thinking_override", "tier_override")
    assert set(decided) == {(True, "balanced")}
