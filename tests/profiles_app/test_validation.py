"""What is wrong with a profile here and now: all of it at once, each with its line."""

import pytest

from profiles_app.preset_models import SamplingPreset
from profiles_app.services import save_yaml
from profiles_app.validation import Finding, validate
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db

SOUND = """\
name: A
enabled_models: [small_fast, large_powerful]
tier_config:
  - {name: fast, max_score: 5}
  - {name: powerful, max_score: .inf}
two_stage: {enabled: true, stage1_tier: fast, stage2_tier: powerful}
"""


@pytest.fixture(autouse=True)
def _models(make_model: MakeModel) -> None:
    make_model("small_fast", assigned_tier="fast")
    make_model("large_powerful", assigned_tier="powerful")


def findings(text: str) -> list[Finding]:
    return list(validate(save_yaml(text, slug="a")).findings)


def only(text: str) -> Finding:
    (finding,) = findings(text)
    return finding


def test_nothing_is_wrong_with_a_sound_profile() -> None:
    validation = validate(save_yaml(SOUND))

    assert validation.findings == []
    assert validation.is_valid
    assert validation.memory_mib > 0


def test_a_model_that_is_not_here_is_an_error_with_the_nearest_that_are() -> None:
    text = SOUND.replace("small_fast, large", "smal_fast, small_fast, large")

    finding = only(text)

    assert finding.is_error
    assert (finding.line, finding.path) == (2, "enabled_models[0]")
    assert "smal_fast. Near it: small_fast" in finding.message
    validation = validate(save_yaml(text, slug="a"))
    assert validation.missing_models == ["smal_fast"]
    assert not validation.is_valid


def test_a_model_that_cannot_run_is_an_error(make_model: MakeModel) -> None:
    make_model("broken", problem="incomplete: shard 2 of 3 is missing")

    finding = only(SOUND.replace("[small", "[broken, small"))

    assert finding.is_error
    assert "shard 2 of 3" in finding.message


def test_a_model_whose_tier_has_no_rule_is_a_warning(make_model: MakeModel) -> None:
    make_model("middle", assigned_tier="balanced")
    text = SOUND.replace("[small", "[middle, small")

    finding = only(text)

    assert not finding.is_error
    assert "middle is balanced" in finding.message
    assert validate(save_yaml(text, slug="a")).tier_mismatches == ["middle"]


def test_a_tier_that_no_model_has_is_a_warning() -> None:
    text = SOUND.replace("  - {name: powerful", "  - {name: balanced, max_score: 7}\n&")
    finding = only(text.replace("&", "  - {name: powerful"))

    assert not finding.is_error
    assert (finding.line, finding.path) == (5, "tier_config[1]")


def test_a_tier_of_this_profile_counts_and_not_the_models_own() -> None:
    text = SOUND.replace("large_powerful]", "{model_id: large_powerful, tier: fast}]")

    assert [finding.path for finding in findings(text)] == [
        "tier_config[1]",
        "two_stage.stage2_tier",
    ]


@pytest.mark.parametrize(
    ("first", "second", "path", "words"),
    [
        pytest.param("5", "5", "tier_config[1].max_score", "not above", id="overlapping"),
        pytest.param("5", "3", "tier_config[1].max_score", "not above", id="descending"),
        pytest.param(".inf", "9", "tier_config[1].max_score", "never reached", id="behind"),
    ],
)
def test_scores_that_do_not_ascend_are_an_error(
    first: str, second: str, path: str, words: str
) -> None:
    text = SOUND.replace("max_score: 5", f"max_score: {first}").replace(
        "powerful, max_score: .inf", f"powerful, max_score: {second}"
    )

    (finding,) = [finding for finding in findings(text) if finding.is_error]

    assert (finding.line, finding.path) == (5, path)
    assert words in finding.message


def test_scores_without_a_catch_all_are_a_warning() -> None:
    finding = only(SOUND.replace(".inf", "9"))

    assert not finding.is_error
    assert ".inf" in finding.message


def test_a_stage_that_nobody_answers_is_an_error() -> None:
    finding = only(SOUND.replace("stage1_tier: fast", "stage1_tier: balanced"))

    assert finding.is_error
    assert (finding.line, finding.path) == (6, "two_stage.stage1_tier")


def test_two_stages_of_one_tier_are_a_warning() -> None:
    finding = only(SOUND.replace("stage2_tier: powerful", "stage2_tier: fast"))

    assert not finding.is_error


def test_a_profile_without_models_is_a_warning() -> None:
    assert [finding.is_error for finding in findings("name: A\n")] == [False]


def test_more_memory_than_the_budget_is_an_error() -> None:
    text = SOUND + "memory: {budget_mib: 1024}\n"

    finding = only(text)

    assert finding.is_error
    assert finding.line == 7
    assert "the budget is 1,024" in finding.message


def test_replicas_take_memory_each() -> None:
    one = validate(save_yaml(SOUND)).memory_mib
    text = SOUND.replace("[small_fast", "[{model_id: small_fast, replicas: 2}")

    assert validate(save_yaml(text)).memory_mib == pytest.approx(1.5 * one, rel=0.01)


@pytest.mark.parametrize(
    ("routing", "words"),
    [
        pytest.param("classifier_model: embeder", "Near it: embedder", id="not here"),
        pytest.param("classifier_model: embedder", "embedder is not enabled", id="not enabled"),
        pytest.param(
            "classifier: embedding, classifier_model: small_fast",
            "small_fast is no embedding model",
            id="no embedding model",
        ),
    ],
)
def test_a_classifiers_model_that_cannot_be_asked_is_a_warning(
    make_model: MakeModel, routing: str, words: str
) -> None:
    make_model("embedder", kind="embedding")

    finding = only(f"{SOUND}routing: {{{routing}}}\n")

    assert not finding.is_error
    assert (finding.line, finding.path) == (7, "routing.classifier_model")
    assert words in finding.message


@pytest.mark.parametrize("classifier", ["auto", "embedding"])
def test_an_embedding_model_that_is_enabled_may_classify(
    make_model: MakeModel, classifier: str
) -> None:
    make_model("embedder", kind="embedding")
    text = SOUND.replace("[small", "[embedder, small")

    assert not findings(
        f"{text}routing: {{classifier: {classifier}, classifier_model: embedder}}\n"
    )


def test_an_alias_that_is_the_id_of_another_model_is_a_warning(make_model: MakeModel) -> None:
    make_model("other")
    member = "{model_id: small_fast, aliases: [gpt-4o, other]}"

    finding = only(SOUND.replace("[small_fast", f"[{member}"))

    assert not finding.is_error
    assert (finding.line, finding.path) == (2, "enabled_models[0].aliases[1]")
    assert "other is also the id of a model here" in finding.message


def test_a_preset_that_is_not_there_is_an_error() -> None:
    SamplingPreset.objects.create(name="calm")

    finding = only(SOUND + "preset: clam\n")

    assert finding.is_error
    assert "Available: calm" in finding.message
    assert findings(SOUND + "preset: calm\n") == []
