import pytest
from django.db import IntegrityError, transaction

from models_app.models import ModelKind, Tier
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db


def test_a_persons_tier_is_the_tier(make_model: MakeModel) -> None:
    assert make_model(tier_override=Tier.POWERFUL).tier == Tier.POWERFUL


def test_a_persons_word_that_it_thinks_makes_it_powerful(make_model: MakeModel) -> None:
    model = make_model(thinking_override=True)

    assert (model.is_thinking, model.tier) == (True, Tier.POWERFUL)


def test_a_persons_word_that_it_does_not_think_gives_it_the_tier_of_its_size(
    make_model: MakeModel,
) -> None:
    model = make_model(
        is_thinking_model=True, thinking_override=False, assigned_tier=Tier.POWERFUL
    )

    assert (model.is_thinking, model.tier) == (False, Tier.FAST)


@pytest.mark.parametrize("kind", [ModelKind.EMBEDDING, ModelKind.RERANKER])
def test_a_model_that_does_not_chat_has_no_tier(make_model: MakeModel, kind: ModelKind) -> None:
    assert make_model(kind=kind, tier_override=Tier.FAST).tier == ""


@pytest.mark.parametrize("fields", [{"tier_override": "huge"}, {"kind": "smell"}])
def test_the_database_refuses_words_that_mean_nothing(
    make_model: MakeModel, fields: dict[str, str]
) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        make_model(**fields)


def test_the_database_refuses_one_port_for_two_models(make_model: MakeModel) -> None:
    make_model("a", port=8080)

    with pytest.raises(IntegrityError), transaction.atomic():
        make_model("b", port=8080)
