import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from servers_app.complexity.scores import Score
from servers_app.gateway.errors import InvalidRequestError, UpstreamError
from servers_app.gateway.query import Event, Query, answer_query
from servers_app.gateway.routes import RoutingTable, TwoStage
from servers_app.gateway.thinking import CHAT_PATH
from servers_app.gateway.trace import Outcome, Trace
from tests.servers_app.gateway.conftest import MakeUpstream, Upstream, make_table, refused_url
from tests.servers_app.gateway.opening import MakeOpen, make_open
from tests.servers_app.gateway.test_two_stage import DRAFT, received, routes, says

__all__ = ["make_open"]  # a fixture

PLAN = TwoStage("fast", "powerful", stage1_max_tokens=100)
Ask = Callable[..., Awaitable[list[Event]]]


@pytest.fixture
def trace() -> Trace:
    return Trace("r1", "/api/query")


@pytest.fixture
def ask(make_open: MakeOpen, trace: Trace) -> Ask:
    """Return a function that asks a question which has that score."""

    async def run(query: Query, table: RoutingTable, *, score: float = 1) -> list[Event]:
        async def score_it(path: str, body: Mapping[str, Any]) -> Score:
            assert (path, body["messages"][-1]["content"]) == (CHAT_PATH, query.text)
            return Score(score, by="heuristic", factors={"length": score})

        answering = answer_query(
            query,
            open_=await make_open(table),
            score_it=score_it,
            table=table,
            trace=trace,
        )
        async with aclosing(answering) as events:
            return [event async for event in events]

    return run


@pytest.fixture
async def small(make_upstream: MakeUpstream) -> Upstream:
    return await make_upstream(says(DRAFT, prompt=10, completion=3))


@pytest.fixture
async def large(make_upstream: MakeUpstream) -> Upstream:
    return await make_upstream(says("It is 4", prompt=20, completion=4))


@pytest.fixture
def table(small: Upstream, large: Upstream) -> RoutingTable:
    return replace(
        make_table(*routes(small.url, large.url)),
        two_stage=PLAN,
        presets={"precise": {"temperature": 0.1, "top_k": 5}},
    )


def texts(events: list[Event], name: str) -> str:
    return "".join(event.data["text"] for event in events if event.name == name)


async def test_an_easy_question_is_answered_by_the_tier_of_its_score(
    ask: Ask, table: RoutingTable, trace: Trace
) -> None:
    events = await ask(Query("2+2?"), table, score=1)

    told = events[-1].data
    assert (told["response"], told["thinking"], told["mode"]) == ("5", "Hm", "simple")
    assert (told["tier"], told["model_id"], told["tokens"]) == ("fast", "small", 3)
    assert told["complexity"] == {"score": 1, "factors": {"length": 1}}
    assert [event.name for event in events][:1] == ["stage"]
    assert (texts(events, "thinking"), texts(events, "delta")) == ("Hm", "5")
    assert (trace.score, trace.tier, trace.outcome) == (1, "fast", Outcome.OK)


async def test_a_hard_question_takes_two_stages(ask: Ask, table: RoutingTable) -> None:
    events = await ask(Query("2+2?"), table, score=9)

    told = events[-1].data
    assert (told["response"], told["mode"], told["tokens"]) == ("It is 4", "two-stage", 7)
    assert [stage["tier"] for stage in told["stages"]] == ["fast", "powerful"]
    assert [event.data["stage"] for event in events if event.name == "stage"] == [1, 2]
    assert texts(events, "delta") == "5It is 4"
    assert texts(events, "thinking") == "Hm"


async def test_the_mode_can_be_asked_for(ask: Ask, table: RoutingTable) -> None:
    simple = await ask(Query("2+2?", mode="simple"), table, score=9)
    two = await ask(Query("2+2?", mode="two-stage"), table, score=1)

    assert (simple[-1].data["mode"], simple[-1].data["model_id"]) == ("simple", "large")
    assert two[-1].data["mode"] == "two-stage"


async def test_where_the_profile_has_two_stages_off_one_model_answers(
    ask: Ask, table: RoutingTable
) -> None:
    off = replace(table, two_stage=None)

    assert (await ask(Query("2+2?"), off, score=9))[-1].data["mode"] == "simple"
    with pytest.raises(InvalidRequestError, match="two-stage answers off"):
        await ask(Query("2+2?", mode="two-stage"), off)


async def test_a_preset_gives_what_the_question_does_not(
    ask: Ask, table: RoutingTable, small: Upstream
) -> None:
    await ask(Query("2+2?", preset="precise", temperature=0.9, max_tokens=5), table)

    body = received(small)
    assert (body["temperature"], body["top_k"], body["max_tokens"]) == (0.9, 5, 5)
    with pytest.raises(InvalidRequestError, match="no preset"):
        await ask(Query("2+2?", preset="none"), table)


async def test_a_preset_hides_the_thinking(ask: Ask, table: RoutingTable) -> None:
    hiding = replace(table, hidden_thinking=frozenset({"precise"}))

    events = await ask(Query("2+2?", preset="precise"), hiding)

    assert "Hm" not in json.dumps(events)
    assert events[-1].data["response"] == "5"


async def test_a_draft_that_nobody_checked_comes_with_a_warning(
    ask: Ask, table: RoutingTable, small: Upstream
) -> None:
    alone = replace(make_table(*routes(small.url, refused_url())), two_stage=PLAN)

    told = (await ask(Query("2+2?", mode="two-stage"), alone))[-1].data

    assert (told["response"], told["model_id"]) == ("5", "small")
    assert told["warning"].startswith("This is the draft")


async def test_a_question_that_nobody_answers_fails(ask: Ask) -> None:
    with pytest.raises(UpstreamError, match="not reached"):
        await ask(Query("2+2?"), make_table(*routes(refused_url(), refused_url())))
