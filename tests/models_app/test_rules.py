import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from models_app.models import DiscoveryRules, ModelKind, Tier
from models_app.rules import current_rules, retier, tier_of
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
