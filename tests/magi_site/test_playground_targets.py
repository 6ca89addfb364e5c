"""Whom a chat of the playground can go to, and what is said of each."""

import pytest

from magi_site.pages.playground_targets import target_groups
from servers_app.gateway.table import table_now
from servers_app.models import ServerState, Wanted
from tests.conftest import MakeModel, MakeProfile, MakeServer

pytestmark = pytest.mark.django_db


def labels() -> dict[str, str]:
    groups = target_groups(table_now())
    return {target.name: target.label for group in groups for target in group.targets}


def test_each_name_says_whether_it_answers_at_once(
    make_model: MakeModel, make_server: MakeServer, make_profile: MakeProfile
) -> None:
    ready = make_model("warm")
    cold = make_model("cold", assigned_tier="balanced")
    dead = make_model("dead", assigned_tier="balanced")
    make_server(ready, state=ServerState.READY, wanted=Wanted.RUNNING)
    make_server(cold, on_request=True)
    make_server(dead, state=ServerState.FAILED)
    profile = make_profile("mine", "warm", "cold", "dead", is_active=True)
    profile.members.filter(model_id="warm").update(aliases=["gpt-4o"])

    assert labels() == {
        "auto": "auto · ready",
        "fast": "fast · ready",
        "balanced": "balanced · starts on request",
        "powerful": "powerful · starts on request · has no model, balanced answers",
        "two-stage": "two-stage · off in the profile",
        "warm": "warm · ready",
        "cold": "cold · starts on request",
        "dead": "dead · failed",
        "gpt-4o": "gpt-4o · ready · is warm",
    }


def test_two_stages_are_as_ready_as_the_worse_of_them(
    make_model: MakeModel, make_server: MakeServer, make_profile: MakeProfile
) -> None:
    make_server(make_model("warm"), state=ServerState.READY, wanted=Wanted.RUNNING)
    make_server(make_model("cold", assigned_tier="powerful"))
    make_profile(
        "mine",
        "warm",
        "cold",
        is_active=True,
        two_stage_enabled=True,
        two_stage_stage1_tier="fast",
        two_stage_stage2_tier="powerful",
    )

    assert labels()["two-stage"] == "two-stage · stopped · fast, then powerful"


def test_what_does_not_chat_is_not_offered(
    make_model: MakeModel, make_server: MakeServer
) -> None:
    make_server(make_model("embedder", kind="embedding"), on_request=True)

    assert labels() == {}
