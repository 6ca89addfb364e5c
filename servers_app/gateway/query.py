"""A question of the REST API: scored, sent to a tier or through two stages, and explained."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from servers_app.complexity.scores import Score
from servers_app.gateway.routes import AUTO, RoutingTable, TwoStage, strength
from servers_app.gateway.stages import Open, Stage, dicts, stream, text_of
from servers_app.gateway.thinking import CHAT_PATH, split_thinking
from servers_app.gateway.trace import Outcome, Trace
from servers_app.gateway.two_stage import TwoStageRun, plan_for
from servers_app.gateway.wishes import Wish

SIMPLE: Final = "simple"
TWO_STAGE_MODE: Final = "two-stage"
MODES: Final = (AUTO, SIMPLE, TWO_STAGE_MODE)

Mode: TypeAlias = Literal["auto", "simple", "two-stage"]
ScoreIt = Callable[[str, Mapping[str, Any]], Awaitable[Score]]  # a path, and a body for it


@dataclass(frozen=True, slots=True)
class Query:
    text: str
    mode: Mode = "auto"
    max_tokens: int | None = None
    temperature: float | None = None
    preset: str | None = None  # None: the profile's


class Event(NamedTuple):
    """Something that happened: `stage`, `thinking`, `delta`, and `done` in the end."""

    name: str
    data: dict[str, Any]


async def answer_query(
    query: Query, *, open_: Open, score_it: ScoreIt, table: RoutingTable, trace: Trace
) -> AsyncGenerator[Event, None]:
    """Answer a question; the last event, `done`, holds the whole of it.

    Mode `auto` takes two stages where the profile has them and the question comes to a
    stronger tier than the one that would draft; otherwise that tier answers alone.

    Raises:
        InvalidRequestError: there is no such preset, or the profile has two stages off.
        NoRouteError, UpstreamError, UpstreamTimeoutError: nobody answered, or not to the end.
    """
    preset = table.preset if query.preset is None else query.preset
    body = _body(query, table)
    score = await score_it(CHAT_PATH, body)
    trace.asked, trace.preset, trace.prompt = query.mode, preset, query.text
    trace.score, trace.factors, trace.scored_by = score.value, score.factors, score.by
    tier = table.tier_for(score.value)
    plan = _plan(query, table, tier)
    is_hidden = preset in table.hidden_thinking
    if plan is None:
        answering = _simple(open_, body, Wish(AUTO, tier), trace)
    else:
        answering = _in_stages(TwoStageRun(open_, plan, body, trace))
    async with aclosing(answering) as events:
        async for event in events:
            if event.name != "done":
                if event.name != "thinking" or not is_hidden:
                    yield event
                continue
            told = event.data
            if is_hidden:
                told["thinking"] = ""
            told["complexity"] = {"score": score.value, "factors": dict(score.factors)}
            told["tokens"] = sum(stage["tokens"] for stage in told["stages"])
            told["time_ms"] = round(trace.elapsed_s() * 1000)
            yield Event("done", told)


def _body(query: Query, table: RoutingTable) -> dict[str, Any]:
    given = {"max_tokens": query.max_tokens, "temperature": query.temperature}
    return {
        **table.defaults(query.preset),
        **{key: value for key, value in given.items() if value is not None},
        "messages": [{"role": "user", "content": query.text}],
    }


def _plan(query: Query, table: RoutingTable, tier: str) -> TwoStage | None:
    if query.mode == TWO_STAGE_MODE:
        return plan_for(table, CHAT_PATH)
    plan = table.two_stage
    if query.mode == SIMPLE or plan is None:
        return None
    return plan if strength(tier) > strength(plan.stage1_tier) else None


async def _simple(
    open_: Open, body: Mapping[str, Any], wish: Wish, trace: Trace
) -> AsyncGenerator[Event, None]:
    stage = Stage(1, wish, trace)
    is_announced = False
    async with aclosing(stream(open_, body, stage)) as chunks:
        async for chunk in chunks:
            if not is_announced:
                is_announced = True
                yield Event("stage", stage.label())
            for event in _said(chunk, stage.number, is_draft=False):
                yield event
    trace.outcome = Outcome.OK
    yield Event("done", _told([stage], mode=SIMPLE))


async def _in_stages(run: TwoStageRun) -> AsyncGenerator[Event, None]:
    announced = 0
    async with aclosing(run.chunks()) as chunks:
        async for chunk in chunks:
            label = chunk["magi"]
            if "stages" in label:
                continue
            number = label["stage"]
            if number != announced:
                announced = number
                yield Event("stage", {key: label[key] for key in ("stage", "tier", "model_id")})
            for event in _said(chunk, number, is_draft=label.get("part") == "draft"):
                yield event
    told = _told(run.stages, mode=TWO_STAGE_MODE)
    yield Event("done", {**told, "warning": run.warning} if run.warning else told)


def _said(chunk: Mapping[str, Any], number: int, *, is_draft: bool) -> list[Event]:
    events = []
    for choice in dicts(chunk["choices"])[:1]:
        delta = choice.get("delta")
        said = delta if isinstance(delta, dict) else {}
        if thinking := text_of(said, "reasoning_content"):
            name = "delta" if is_draft else "thinking"
            events.append(Event(name, {"stage": number, "text": thinking}))
        if answer := text_of(said, "content"):
            events.append(Event("delta", {"stage": number, "text": answer}))
    return events


def _told(stages: list[Stage], *, mode: str) -> dict[str, Any]:
    last = stages[-1]
    thinking, response = split_thinking(last.response)
    return {
        "response": response,
        "thinking": last.thinking or thinking,
        "mode": mode,
        "tier": last.tier,
        "model_id": last.trace.model_id,
        "stages": [
            {**stage.figures(), "response": split_thinking(stage.response).answer}
            for stage in stages
        ],
    }
