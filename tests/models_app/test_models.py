import pytest
from django.db import IntegrityError, transaction

from models_app.models import ModelKind, Tier
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db


def test_a_persons_tier_is_the_tier(make_model: MakeModel) -> None:
    assert make_model(tier_override=Tier.POWERFUL).tier == Tier.POWERFUL


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
