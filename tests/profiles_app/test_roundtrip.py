"""A profile survives YAML, rows, and YAML again."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.utils.text import slugify
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from profiles_app.files import sync, yaml_of
from profiles_app.models import Profile
from profiles_app.rows import as_document
from profiles_app.services import compose, get_profile, save_document, save_yaml
from profiles_app.templates import new_profile, template_names

# What is generated does not depend on whose the rows are.
EXAMPLES = 500 if connection.vendor == "sqlite" else 100

pytestmark = pytest.mark.django_db

_TIERS = ("fast", "balanced", "powerful")


def _texts(longest: int, *, lines: bool = False) -> st.SearchStrategy[str]:
    kept = st.characters(exclude_categories=("Cs", "Cc", "Cf", "Zl", "Zp"))
    text = st.text(kept | st.just("\n") if lines else kept, max_size=longest)
    return text.map(str.strip)


def _are_apart(members: list[Any]) -> bool:
    """Whether no alias stands for two models."""
    names = [
        name
        for member in members
        if isinstance(member, dict)
        for name in member.get("aliases", [])
    ]
    return len(names) == len(set(names))


_names = st.builds(
    lambda text, number: re.sub(r"[/\\]", " ", f"{text} {number}").lstrip(" .").strip(),
    _texts(60),
    st.integers(0, 999),
).filter(slugify)
_seconds = st.floats(0, 1e6).map(lambda value: round(value, 3))
_ids = st.from_regex(r"[a-z0-9_]{1,40}", fullmatch=True)
# None is an id, and many look like a number or a date.
_aliases = st.lists(
    st.from_regex(r"[A-Z0-9]{1,9}[-:./][A-Z0-9]{1,9}", fullmatch=True),
    min_size=1,
    max_size=3,
    unique=True,
)
_run_settings = st.fixed_dictionaries(
    {},
    optional={
        "ctx_size": st.integers(0, 131_072),
        "n_gpu_layers": st.sampled_from([0, 99, "auto", "all"]),
        "parallel": st.integers(1, 16),
        "flash_attn": st.sampled_from(["on", "off", "auto"]),
        "cache_type_k": st.sampled_from(["f16", "q8_0"]),
        "kv_unified": st.booleans(),
        "threads": st.none() | st.integers(1, 64),
    },
)
_members = st.lists(
    _ids
    | st.fixed_dictionaries(
        {"model_id": _ids},
        optional={
            "tier": st.sampled_from(_TIERS),
            "replicas": st.integers(2, 16),
            "aliases": _aliases,
            "run_settings": _run_settings.filter(bool),
        },
    ),
    max_size=5,
    unique_by=lambda member: member if isinstance(member, str) else member["model_id"],
).filter(_are_apart)
_tiers = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(_TIERS),
            "max_score": st.none() | st.floats(0, 1e6).map(lambda value: round(value, 4)),
            "expected_time_seconds": _seconds,
            "description": _texts(50),
        }
    ),
    max_size=3,
    unique_by=lambda tier: tier["name"],
)
_whole = st.integers(1, 100_000)
_documents = st.fixed_dictionaries(
    {"name": _names},
    optional={
        "description": _texts(200, lines=True),
        "enabled_models": _members,
        "tier_config": _tiers,
        "two_stage": st.fixed_dictionaries(
            {"enabled": st.booleans()},
            optional={
                "stage1_tier": st.sampled_from(_TIERS),
                "stage2_tier": st.sampled_from(_TIERS),
                "stage1_max_tokens": _whole,
            },
        ),
        "load_balancing": st.fixed_dictionaries(
            {},
            optional={
                "enabled": st.booleans(),
                "strategy": st.sampled_from(["round_robin", "least_loaded", "random"]),
                "health_check_interval": _whole,
            },
        ),
        "routing": st.fixed_dictionaries(
            {},
            optional={
                "cold_wait_seconds": st.none() | st.just(float("inf")) | st.integers(0, 86_400),
                "classifier": st.sampled_from(["auto", "heuristic", "embedding", "decision"]),
                "classifier_model": st.just("") | _ids,
            },
        ),
        "lifecycle": st.fixed_dictionaries(
            {},
            optional={
                "start": st.sampled_from(["activation", "request"]),
                "idle_ttl_seconds": st.none() | _whole,
                "drain_seconds": st.integers(0, 86_400),
                "restart_policy": st.sampled_from(["unless-stopped", "on-failure", "never"]),
            },
        ),
        "queue": st.fixed_dictionaries({}, optional={"limit": _whole}),
        "memory": st.fixed_dictionaries(
            {}, optional={"budget_mib": st.none() | _whole, "eviction": st.just("idle-longest")}
        ),
        "placement": st.fixed_dictionaries(
            {},
            optional={
                "rule": st.sampled_from(["spread", "pack", "pin"]),
                "nodes": st.lists(_ids, max_size=3, unique=True),
                "failover": st.booleans(),
                "failover_after_seconds": st.integers(20, 86_400),
            },
        ),
        "preset": st.none() | st.sampled_from(["fast", "code"]),
        "engine": st.sampled_from(["", "embedded"]),
        "run_settings": _run_settings,
    },
)


@contextmanager
def undone() -> Iterator[None]:
    """Undo what one example saves: a table that thousands pass through gets slow."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@hypothesis_settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(document=_documents, edit=_documents)
@example(document={"name": "no 1", "description": "null"}, edit={"name": "yes 2"})
def test_every_profile_survives_yaml_and_back(
    document: dict[str, Any], edit: dict[str, Any]
) -> None:
    with undone():
        profile = save_document(document, slug="a")
        first = as_document(profile)

        again = save_yaml(yaml_of(profile), slug="b")
        assert as_document(again) == first
        assert yaml_of(again) == yaml_of(profile)

        from_rows = save_yaml(compose(None, first, None), slug="c")
        assert as_document(from_rows) == first

        # And an edit comes out as it was meant, whatever the old text was.
        wanted = as_document(save_document(edit, slug="d"))
        assert as_document(save_document(wanted, slug="a")) == wanted


@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(parent=_documents, child=_documents)
def test_a_child_survives_with_only_its_differences(
    parent: dict[str, Any], child: dict[str, Any]
) -> None:
    with undone():
        save_document(parent, slug="parent")
        first = as_document(save_document({**child, "extends": "parent"}, slug="child"))

        again = save_yaml(yaml_of(get_profile("child")), slug="again")

        assert as_document(again) == first


def test_the_shipped_profiles_survive() -> None:
    sync(settings.MAGI_PROFILES_DIR)

    for profile in Profile.objects.all():
        again = save_yaml(compose(None, as_document(profile), None), slug="again")
        assert as_document(again) == as_document(profile)


@pytest.mark.parametrize("name", template_names())
def test_a_template_makes_a_profile_and_keeps_its_comments(name: str) -> None:
    profile = new_profile("Mine", source=name, models=["x"])

    template = (settings.BASE_DIR / "config" / "templates" / f"{name}.yaml").read_text()
    assert profile.slug == "mine"
    assert as_document(profile)["enabled_models"] == ["x"]
    assert profile.yaml.splitlines()[0] == template.splitlines()[0]
