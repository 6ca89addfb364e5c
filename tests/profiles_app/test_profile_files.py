from pathlib import Path

import pytest
from django.conf import settings

from profiles_app.errors import ProfileNotFoundError
from profiles_app.models import Profile
from profiles_app.services import get_profile, import_new_profiles

pytestmark = pytest.mark.django_db

NESTED = """
profile:
  name: "My Custom Profile"
  description: "Mine"
enabled_models: [a_fast, b_powerful, a_fast]
tier_config:
  - {name: fast, max_score: 5.0, expected_time_seconds: 2}
  - {name: powerful, max_score: .inf, expected_time_seconds: 15, description: "the rest"}
two_stage: {enabled: true, stage1_tier: fast}
"""
FLAT = "name: Flat\nenabled_models: [a_fast]\n"


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)


def test_the_three_profiles_of_the_guide_ship() -> None:
    errors = import_new_profiles(settings.MAGI_PROFILES_DIR)

    assert errors == []
    assert list(Profile.objects.values_list("slug", "name")) == [
        ("development", "Development"),
        ("fast-only", "Fast Only"),
        ("production", "Production"),
    ]
    development = get_profile("development")
    assert [str(member) for member in development.members.all()] == [
        "qwen3_4p0b_q4km_fast",
        "deepseek_r10528qwen3_8p0b_q4km_powerful",
    ]
    assert list(development.tiers.values_list("name", "max_score")) == [
        ("fast", 5.0),
        ("powerful", None),
    ]
    assert development.two_stage_enabled
    assert not development.load_balancing_enabled
    assert get_profile("production").load_balancing_strategy == "round_robin"


def test_the_nested_form_is_read_with_defaults_for_what_it_leaves_out(tmp_path: Path) -> None:
    write(tmp_path, "mine.yaml", NESTED)

    assert import_new_profiles(tmp_path) == []

    profile = get_profile("mine")
    assert profile.name == "My Custom Profile"
    assert [str(member) for member in profile.members.all()] == ["a_fast", "b_powerful"]
    assert list(profile.tiers.values_list("max_score", "description")) == [
        (5.0, ""),
        (None, "the rest"),
    ]
    assert profile.two_stage_stage1_tier == "fast"
    assert profile.two_stage_stage1_max_tokens == 500
    assert profile.health_check_interval == 30


def test_the_flat_form_is_read_with_the_guides_tiers(tmp_path: Path) -> None:
    write(tmp_path, "flat.yaml", FLAT)

    assert import_new_profiles(tmp_path) == []

    assert list(get_profile("flat").tiers.values_list("name", "max_score")) == [
        ("fast", 3.0),
        ("balanced", 7.0),
        ("powerful", None),
    ]


def test_a_profile_that_is_there_is_left_as_people_made_it(tmp_path: Path) -> None:
    write(tmp_path, "flat.yaml", FLAT)
    import_new_profiles(tmp_path)
    Profile.objects.update(description="edited in the admin")

    import_new_profiles(tmp_path)

    assert get_profile("flat").description == "edited in the admin"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "is not a mapping", id="empty"),
        pytest.param("- a\n- b\n", "is not a mapping", id="a list"),
        pytest.param("name: [", "is not YAML at line", id="not YAML"),
        pytest.param("\x00", "is not YAML", id="bytes that are no text"),
        pytest.param("name: !!python/object:os.system {}", "is not YAML", id="an object"),
        pytest.param("enabled_models: []", "name: This field is required", id="no name"),
        pytest.param("name: a\nenabled_models: 3", "enabled_models: ", id="models no list"),
        pytest.param(
            "name: a\ntier_config: [{name: medium}]",
            'tier_config[0].name: "medium" is not a valid choice',
            id="unknown tier",
        ),
        pytest.param(
            "name: a\ntier_config: [{name: fast}, {name: fast}]",
            "tier_config: A tier stands there twice",
            id="a tier twice",
        ),
        pytest.param(
            "name: a\ntier_config: [{name: fast, max_score: .nan}]",
            "tier_config[0].max_score: ",
            id="a score that is no number",
        ),
        pytest.param(
            "name: a\nload_balancing: {strategy: fastest}",
            'load_balancing.strategy: "fastest" is not a valid choice',
            id="unknown strategy",
        ),
        pytest.param(
            "name: a\nload_balancing: {health_check_interval: 0}",
            "load_balancing.health_check_interval: ",
            id="an interval of nothing",
        ),
        pytest.param("name: a\ntwo_stage: yes", "two_stage: ", id="two_stage no mapping"),
        pytest.param("name: " + "a" * 300_000, "is larger than", id="too large"),
    ],
)
def test_a_file_that_is_no_profile_is_named_with_the_field_and_the_others_are_imported(
    tmp_path: Path, text: str, message: str
) -> None:
    write(tmp_path, "bad.yaml", text)
    write(tmp_path, "flat.yaml", FLAT)

    errors = import_new_profiles(tmp_path)

    assert len(errors) == 1
    assert str(errors[0]).startswith("bad.yaml: ")
    assert message in str(errors[0])
    assert list(Profile.objects.values_list("slug", flat=True)) == ["flat"]


def test_a_missing_profile_is_named_with_those_that_are_there() -> None:
    import_new_profiles(settings.MAGI_PROFILES_DIR)

    with pytest.raises(ProfileNotFoundError) as error:
        get_profile("x")

    assert str(error.value) == (
        "Profile 'x' not found. Available: development, fast-only, production"
    )
