from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from models_app.admin import DiscoveredModelAdmin
from models_app.errors import UnknownModelError
from models_app.models import DiscoveredModel, DiscoveryRules, ModelKind, Tier
from models_app.rules import (
    current_rules,
    override_thinking,
    rename,
    retier,
    save_overrides,
    tier_of,
)
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db


def test_the_guides_thresholds_hold_until_somebody_changes_them() -> None:
    rules = current_rules()

    assert (rules.powerful_min, rules.fast_max) == (14.0, 7.0)


def test_a_persons_word_that_it_thinks_makes_it_powerful(make_model: MakeModel) -> None:
    model = make_model(thinking_override=True)

    assert tier_of(model, current_rules()) == Tier.POWERFUL


def test_a_persons_word_that_it_does_not_think_gives_it_the_tier_of_its_size(
    make_model: MakeModel,
) -> None:
    model = make_model(is_thinking_model=True, thinking_override=False)

    assert tier_of(model, current_rules()) == Tier.FAST


def test_a_model_that_does_not_chat_is_given_no_tier(make_model: MakeModel) -> None:
    assert tier_of(make_model(kind=ModelKind.EMBEDDING), current_rules()) == ""


def test_a_change_of_the_thresholds_tiers_every_model_anew_and_touches_no_id(
    make_model: MakeModel,
) -> None:
    small = make_model("small_fast", size_params=4.0)
    overruled = make_model("mine_fast", size_params=4.0, tier_override=Tier.BALANCED)
    rules = current_rules()
    rules.powerful_min, rules.fast_max = 3.0, 2.0
    rules.save()

    assert sorted(retier(rules)) == ["mine_fast", "small_fast"]

    small.refresh_from_db()
    overruled.refresh_from_db()
    assert (small.model_id, small.tier) == ("small_fast", Tier.POWERFUL)
    assert overruled.tier == Tier.BALANCED


def test_a_word_that_a_person_adds_makes_its_models_think(make_model: MakeModel) -> None:
    model = make_model(filename="Ponder-4B-Q4_K_M.gguf")
    rules = current_rules()
    rules.thinking_words += "\nponder*"
    rules.save()

    assert retier(rules) == [model.model_id]

    model.refresh_from_db()
    assert (model.is_thinking, model.tier) == (True, Tier.POWERFUL)


def test_there_is_one_row_of_rules() -> None:
    current_rules().save()

    with pytest.raises(IntegrityError), transaction.atomic():
        DiscoveryRules.objects.create(pk=2)


def test_the_admin_page_of_the_rules_tiers_at_once(
    admin_client: Client, make_model: MakeModel
) -> None:
    model = make_model(size_params=4.0)
    page = reverse("admin:models_app_discoveryrules_changelist")

    opened = admin_client.get(page, follow=True)
    response = admin_client.post(
        opened.request["PATH_INFO"],
        {"powerful_min": "4", "fast_max": "2", "thinking_words": "r1*"},
        follow=True,
    )

    assert "Models classed anew: 1." in response.content.decode()
    model.refresh_from_db()
    assert model.tier == Tier.POWERFUL


def test_thresholds_that_overlap_are_refused_with_the_reason(admin_client: Client) -> None:
    current_rules().save()
    page = reverse("admin:models_app_discoveryrules_change", args=[1])

    response = admin_client.post(page, {"powerful_min": "4", "fast_max": "9"})

    assert "Powerful begins where fast ends, or above it." in response.content.decode()


def test_a_word_on_whether_it_thinks_changes_its_name(make_model: MakeModel) -> None:
    model = make_model(family="qwen", version="3", size_text="4p0b", quantization="Q4_0")
    model.thinking_override = True

    save_overrides([model])

    model.refresh_from_db()
    assert model.display_name == "QWEN3 4.0B (Reasoning) Q4_0"


def test_two_models_that_would_read_the_same_show_what_tells_them_apart(
    make_model: MakeModel,
) -> None:
    parts = {"family": "qwen", "version": "3", "size_text": "4p0b", "quantization": "Q4_0"}
    by_repo = [make_model(name, repo_id=f"{name}/Qwen3", **parts) for name in ("one", "two")]
    by_folder = [
        make_model(name, file_path=f"/{name}/m.gguf", variant="vl", **parts) for name in "ab"
    ]
    by_id = [make_model(name, repo_id="o/same", variant="x", **parts) for name in "cd"]
    alone = make_model("alone", repo_id="o/other", variant="y", **parts)

    rename()

    names = dict(DiscoveredModel.objects.values_list("pk", "display_name"))
    assert names[by_repo[0].pk] == "QWEN3 4.0B Q4_0 [one/Qwen3]"
    assert [names[model.pk] for model in by_folder] == [
        "QWEN3 Vl 4.0B Q4_0 [a]",
        "QWEN3 Vl 4.0B Q4_0 [b]",
    ]
    assert [names[m.pk] for m in by_id] == [f"QWEN3 X 4.0B Q4_0 [{m.model_id}]" for m in by_id]
    assert names[alone.pk] == "QWEN3 Y 4.0B Q4_0"

    by_repo[0].delete()
    rename()
    assert DiscoveredModel.objects.get(pk=by_repo[1].pk).display_name == "QWEN3 4.0B Q4_0"


def test_a_word_on_one_model_names_all_those_anew_that_it_touches(
    make_model: MakeModel,
) -> None:
    parts = {"family": "qwen", "version": "3", "size_text": "4p0b", "quantization": "Q4_0"}
    for number, variant in enumerate(["", "", "x", "x", "reasoner"]):
        make_model(
            f"m{number}",
            repo_id=f"org/{number % 3}",
            variant=variant,
            is_thinking_model=number % 2 == 0,
            **parts,
        )
    rename()

    for number, thinking in [
        (1, True),
        (0, False),
        (0, None),
        (3, True),
        (2, False),
        (1, None),
    ]:
        override_thinking(f"m{number}", thinking=thinking)

        named = dict(DiscoveredModel.objects.values_list("model_id", "display_name"))
        rename()  # looks at all of them
        assert named == dict(DiscoveredModel.objects.values_list("model_id", "display_name"))
        assert len(set(named.values())) == len(named)


def test_an_override_of_one_model_looks_at_few(
    make_model: MakeModel, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(60):
        make_model(f"m{number}", family="qwen", version=str(number), size_text="4p0b")
    rename()

    with django_assert_max_num_queries(16):
        override_thinking("m7", thinking=True)


def test_a_model_that_was_removed_meanwhile_is_told(make_model: MakeModel) -> None:
    kept, gone = make_model("kept"), make_model("gone")
    DiscoveredModel.objects.filter(model_id="gone").delete()
    kept.tier_override = gone.tier_override = Tier.FAST

    with pytest.raises(UnknownModelError, match="gone"):
        save_overrides([kept, gone])

    kept.refresh_from_db()
    assert kept.tier_override == ""


def test_the_admin_saves_what_was_changed_on_its_page(
    admin_client: Client, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("m", size_params=4.0, notes="old")
    page = reverse("admin:models_app_discoveredmodel_change", args=[model.pk])
    save = DiscoveredModelAdmin.save_model

    def after_another_has_saved(*arguments: Any, **options: Any) -> None:
        override_thinking("m", thinking=True)
        save(*arguments, **options)

    monkeypatch.setattr(DiscoveredModelAdmin, "save_model", after_another_has_saved)

    form = {"tier_override": "balanced", "thinking_override": "unknown", "notes": "new"}
    assert admin_client.post(page, form).status_code == 302

    model.refresh_from_db()
    assert (model.tier_override, model.notes) == ("balanced", "new")
    assert model.thinking_override is True
