"""Profile files: what is read, and what is refused."""

from pathlib import Path

import pytest
from django.conf import settings

from profiles_app.errors import ProfileNotFoundError
from profiles_app.files import sync
from profiles_app.models import Profile
from profiles_app.services import get_profile

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
FLAT = "# mine\nname: Flat\nenabled_models: [a_fast]  # the small one\n"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_three_profiles_of_the_guide_ship() -> None:
    synced = sync(settings.MAGI_PROFILES_DIR)

    assert synced.errors == []
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

    assert sync(tmp_path).imported == ["mine"]

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

    assert sync(tmp_path).errors == []

    assert list(get_profile("flat").tiers.values_list("name", "max_score")) == [
        ("fast", 3.0),
        ("balanced", 7.0),
        ("powerful", None),
    ]


@pytest.mark.parametrize(
    ("text", "limits", "strategy"),
    [
        pytest.param(
            'tier_config:\n  - name: "fast"\n    max_score: .inf\n'
            "    expected_time_seconds: 2\n",
            [None],
            "round_robin",
            id="one tier",
        ),
        pytest.param(
            "tier_config:\n  - name: fast\n    max_score: 3.0\n  - name: balanced\n"
            "    max_score: 7.0\n  - name: powerful\n    max_score: .inf\n",
            [3.0, 7.0, None],
            "round_robin",
            id="three tiers",
        ),
        pytest.param(
            'two_stage:\n  enabled: true\n  stage1_tier: "fast"  # the first answer\n'
            '  stage2_tier: "powerful"\n  stage1_max_tokens: 500\n',
            [3.0, 7.0, None],
            "round_robin",
            id="two stages",
        ),
        pytest.param(
            'load_balancing:\n  strategy: "least_loaded"\n',
            [3.0, 7.0, None],
            "least_loaded",
            id="load balancing",
        ),
        pytest.param("enabled_models:\n", [3.0, 7.0, None], "round_robin", id="nothing"),
    ],
)
def test_a_piece_of_a_profile_is_one_with_the_defaults_for_the_rest(
    tmp_path: Path, text: str, limits: list[float | None], strategy: str
) -> None:
    write(tmp_path, "piece.yaml", text)

    assert sync(tmp_path).imported == ["piece"]

    profile = get_profile("piece")
    assert list(profile.tiers.values_list("max_score", flat=True)) == limits
    assert profile.load_balancing_strategy == strategy


def test_a_file_without_a_name_is_called_as_the_file_is(tmp_path: Path) -> None:
    write(tmp_path, "night-shift.yaml", "enabled_models: []\n")

    sync(tmp_path)

    assert get_profile("night-shift").name == "Night Shift"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("- a\n- b\n", "mapping", id="a list"),
        pytest.param("name: [", "line 1", id="not YAML"),
        pytest.param("\x00", "", id="bytes that are no text"),
        pytest.param("name: !!python/object:os.system {}", "line 1", id="an object"),
        pytest.param("name: a\nname: b\n", "line 2", id="a key twice"),
        pytest.param("name: &x a\ndescription: *x\n", "line ", id="an alias"),
        pytest.param("name: a\ntwo_stage:\n\tenabled: true\n", "line 3: ", id="a tab"),
        pytest.param(
            "name: a\nenabled_models: 3", "line 2: enabled_models: ", id="models no list"
        ),
        pytest.param(
            "name: a\ntier_config: [{name: medium}]",
            'line 2: tier_config[0].name: "medium" is not a valid choice',
            id="unknown tier",
        ),
        pytest.param(
            "name: a\ntier_config: [{name: fast}, {name: fast}]",
            "line 2: tier_config: A tier stands there twice",
            id="a tier twice",
        ),
        pytest.param(
            "name: a\ntier_config:\n- name: fast\n  max_score: .nan\n",
            "line 4: tier_config[0].max_score: ",
            id="a score that is no number",
        ),
        pytest.param(
            "name: a\ntier_config:\n- name: fast\n  max_score: inf\n",
            "line 4: tier_config[0].max_score: ",
            id="inf without a dot",
        ),
        pytest.param(
            "name: a\ntier_config:\n- name: fast\n  max_score: -1\n",
            "line 4: tier_config[0].max_score: ",
            id="a negative score",
        ),
        pytest.param(
            "name: a\nload_balancing: {strategy: fastest}",
            'line 2: load_balancing.strategy: "fastest" is not a valid choice',
            id="unknown strategy",
        ),
        pytest.param(
            "name: a\nload_balancing: {health_check_interval: 0}",
            "line 2: load_balancing.health_check_interval: ",
            id="an interval of nothing",
        ),
        pytest.param("name: a\ntwo_stage: yes", "line 2: two_stage: ", id="no mapping"),
        pytest.param(
            "name: a\nenabled_model: [x]",
            "line 2: enabled_model: Unknown; did you mean enabled_models?",
            id="a key that nobody knows",
        ),
        pytest.param(
            "name: a\nrun_settings: {ctx_siz: 4096}",
            "line 2: run_settings.ctx_siz: ",
            id="a setting that nobody knows",
        ),
        pytest.param("name: ../../etc/passwd", "line 1: name: ", id="a name that is a path"),
        pytest.param("name: ''", "line 1: name: ", id="an empty name"),
        pytest.param("name: " + "a" * 300, "line 1: name: ", id="a name of 300 characters"),
        pytest.param("name: a\nextends: nobody", "line 2: extends: ", id="a parent not there"),
        pytest.param("name: a\nextends: bad", "A circle: bad extends bad", id="itself"),
        pytest.param("name: a\npreset: ${SECRET}", "line 2: preset: ", id="a variable"),
        pytest.param("name: " + "a" * 300_000, "is larger than", id="too large"),
    ],
)
def test_a_file_that_is_no_profile_is_named_with_the_line_and_the_others_are_imported(
    tmp_path: Path, text: str, message: str
) -> None:
    write(tmp_path, "bad.yaml", text)
    write(tmp_path, "flat.yaml", FLAT)

    errors = sync(tmp_path).errors

    assert len(errors) == 1
    assert str(errors[0]).startswith("bad.yaml: ")
    assert message in str(errors[0])
    assert list(Profile.objects.values_list("slug", flat=True)) == ["flat"]


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    write(
        tmp_path,
        "bad.yaml",
        "name: a\nqueue: {limit: -1}\ntwo_stage: {stage1_tier: x}\n"
        "run_settings: {parallel: 0}\n",
    )

    (error,) = sync(tmp_path).errors

    assert [(problem.line, problem.path) for problem in error.problems] == [
        (2, "queue.limit"),
        (3, "two_stage.stage1_tier"),
        (4, "run_settings.parallel"),
    ]


def test_a_file_name_that_differs_from_another_in_case_only_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "flat.yaml", FLAT)
    write(tmp_path, "Flat.yaml", FLAT)

    synced = sync(tmp_path)

    assert synced.imported == ["flat"]
    assert "lower-case" in str(synced.errors[0])


def test_what_a_file_extends_is_read_before_it(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "name: A\nextends: b\ntwo_stage: {enabled: true}\n")
    write(tmp_path, "b.yaml", "name: B\nqueue: {limit: 7}\n")

    assert sync(tmp_path).imported == ["b", "a"]

    assert (get_profile("a").queue_limit, get_profile("a").two_stage_enabled) == (7, True)


def test_files_that_extend_each_other_in_a_circle_are_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "name: A\nextends: b\n")
    write(tmp_path, "b.yaml", "name: B\nextends: a\n")

    assert len(sync(tmp_path).errors) == 2
    assert not Profile.objects.exists()


def test_a_missing_profile_is_named_with_those_that_are_there() -> None:
    sync(settings.MAGI_PROFILES_DIR)

    with pytest.raises(ProfileNotFoundError) as error:
        get_profile("x")

    assert str(error.value) == (
        "Profile 'x' not found. Available: development, fast-only, production"
    )
