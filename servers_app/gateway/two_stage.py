"""The model `two-stage`: one tier drafts the answer, another checks and completes it.

The draft streams as `reasoning_content`, which chat programs fold away, and the answer as
`content`. What no OpenAI client knows stands under `magi`.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from servers_app.gateway.asgi import ClientWatch, Exchange
from servers_app.gateway.errors import (
    GatewayError,
    InvalidRequestError,
    NoRouteError,
    UpstreamError,
    UpstreamTimeoutError,
)
from servers_app.gateway.headers import Header
from servers_app.gateway.queueing import QueueFullError, QueueTimeoutError
from servers_app.gateway.relay import EVENT_STREAM, note_error
from servers_app.gateway.routes import TWO_STAGE, RoutingTable, TwoStage
from servers_app.gateway.sse import DONE, event_of
from servers_app.gateway.stages import Open, Stage, count, dicts, fetch, stream
from servers_app.gateway.thinking import CHAT_PATH, make_filter, split_thinking
from servers_app.gateway.trace import Outcome, Trace
from servers_app.gateway.wishes import Wish

INSTRUCTION: Final = (
    "The answer above is a draft by another assistant. Check it against everything asked "
    "before it: correct what is wrong, complete what is missing, and keep what is right. "
    "Reply with the final answer only, in the language of the conversation, and do not "
    "mention the draft."
)
_MAX_TOKENS: Final = ("max_tokens", "max_completion_tokens", "n_predict")
# What shapes the answer and not the draft of it.
_SECOND_ONLY: Final = frozenset(
    {
        "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call",
        "response_format", "json_schema", "grammar", "n", "n_cmpl", "logprobs",
        "top_logprobs", "stream_options", *_MAX_TOKENS,
    }
)  # fmt: skip
_UNAVAILABLE: Final = (
    NoRouteError, UpstreamError, UpstreamTimeoutError, QueueFullError, QueueTimeoutError,
)  # fmt: skip


def plan_for(table: RoutingTable, path: str) -> TwoStage:
    """Return the profile's two stages.

    Raises:
        InvalidRequestError: the profile has them off, or `path` is not the chat's.
    """
    if path != CHAT_PATH:
        message = f"`two-stage` answers on {CHAT_PATH} only. Name another model here."
        raise InvalidRequestError(message, param="model")
    if table.two_stage is None:
        message = (
            "The active profile has two-stage answers off. Turn them on in the profile, "
            "in the admin, or name another model: see GET /v1/models."
        )
        raise InvalidRequestError(message, param="model")
    return table.two_stage


class TwoStageRun:
    """One request that is answered in two stages.

    Attributes:
        stages: those that answered, or began to.
        warning: why the answer is not what two stages would have made it; else empty.
    """

    def __init__(
        self, open_: Open, plan: TwoStage, body: Mapping[str, Any], trace: Trace
    ) -> None:
        """Take the parsed body of the request.

        Raises:
            InvalidRequestError: its messages are no conversation that can be answered.
        """
        self._messages = _checked(body.get("messages"))
        self._open, self._plan, self._body = open_, plan, body
        self.trace = trace
        self.stages: list[Stage] = []
        self.warning = ""
        self._second = self._stage(2, plan.stage2_tier)

    async def chunks(self) -> AsyncGenerator[dict[str, Any], None]:
        """Give the chunks of both stages, and one with the sums. Raises: as `whole`."""
        first = self._stage(1, self._plan.stage1_tier)
        async for chunk in self._drafting(first):
            yield chunk
        draft, second, has_said = self._draft(first), self._second, False
        try:
            async for chunk in stream(self._open, self._second_body(draft), second):
                deltas = [choice.get("delta") for choice in dicts(chunk["choices"])]
                has_said |= any(isinstance(delta, dict) and _says(delta) for delta in deltas)
                kept = {key: value for key, value in chunk.items() if key != "usage"}
                yield {**kept, **self._head(), "magi": second.label()}
            self.stages.append(second)
        except _UNAVAILABLE as error:
            if has_said or not draft:
                raise
            yield self._chunk({"content": self._fall_back(draft, error)}, first.label())
            end = {"index": 0, "delta": {}, "finish_reason": first.finish_reason or "stop"}
            yield {**self._head(), "choices": [end], "magi": first.label()}
        self._settle()
        options = self._body.get("stream_options")
        has_usage = isinstance(options, dict) and options.get("include_usage") is True
        # Who has not asked for it does not expect a chunk without a choice.
        nothing = [] if has_usage else [{"index": 0, "delta": {}, "finish_reason": None}]
        yield {**self._head(), "choices": nothing, "usage": self.usage(), "magi": self.magi()}

    async def whole(self) -> dict[str, Any]:
        """Return the answer in one piece.

        Raises:
            NoRouteError, UpstreamError, UpstreamTimeoutError: neither stage answered, or
                the second broke off.
            InvalidRequestError: a server refused the request.
        """
        first = self._stage(1, self._plan.stage1_tier)
        async for _chunk in self._drafting(first):
            pass
        draft, second = self._draft(first), self._second
        try:
            value = await fetch(self._open, self._second_body(draft), second)
            self.stages.append(second)
        except _UNAVAILABLE as error:
            if not draft:
                raise
            message = {"role": "assistant", "content": self._fall_back(draft, error)}
            reason = first.finish_reason or "stop"
            value = {"choices": [{"index": 0, "message": message, "finish_reason": reason}]}
        self._settle()
        head = {**self._head(), "object": "chat.completion"}
        return {**value, **head, "usage": self.usage(), "magi": self.magi()}

    def usage(self) -> dict[str, Any]:
        """Return what both stages took."""
        usages = [stage.usage for stage in self.stages]
        prompt = sum(count(usage, "prompt_tokens") for usage in usages)
        completion = sum(count(usage, "completion_tokens") for usage in usages)
        cached = sum(stage.trace.cached_tokens or 0 for stage in self.stages)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
        }

    def magi(self) -> dict[str, Any]:
        told: dict[str, Any] = {"stages": [stage.figures() for stage in self.stages]}
        return {**told, "warning": self.warning} if self.warning else told

    async def _drafting(self, first: Stage) -> AsyncGenerator[dict[str, Any], None]:
        limit = self._plan.stage1_max_tokens
        given = [self._body.get(name) for name in _MAX_TOKENS]
        limits = [n for n in given if isinstance(n, int) and n > 0]
        body = {key: value for key, value in self._body.items() if key not in _SECOND_ONLY}
        body["max_tokens"] = min([limit, *limits])
        try:
            async for chunk in stream(self._open, body, first):
                for choice in dicts(chunk["choices"])[:1]:
                    delta = choice.get("delta")
                    for key, part in (("reasoning_content", "thinking"), ("content", "draft")):
                        if isinstance(delta, dict) and (text := delta.get(key)):
                            label = {**first.label(), "part": part}
                            yield self._chunk({"reasoning_content": text}, label)
        except (*_UNAVAILABLE, InvalidRequestError) as error:
            first.response = ""
            self.warning = f"There was no draft to check. {error.message}"
        if first.usage or first.response:
            self.stages.append(first)

    def _draft(self, first: Stage) -> str:
        draft = split_thinking(first.response).answer.strip()
        if not draft and not self.warning:
            self.warning = "There was no draft to check: the first stage came to no answer."
        return draft

    def _second_body(self, draft: str) -> dict[str, Any]:
        messages = self._messages
        if draft:
            checked = [
                {"role": "assistant", "content": draft},
                {"role": "user", "content": INSTRUCTION},
            ]
            messages = [*messages, *checked]
        return {**self._body, "messages": messages}

    def _fall_back(self, draft: str, error: GatewayError) -> str:
        self.warning = f"This is the draft, which nobody has checked. {error.message}"
        return draft

    def _settle(self) -> None:
        """Tell the request's trace of the stages: the last one gave the answer."""
        usage = self.usage()
        last = self.stages[-1].trace if self.stages else self._second.trace
        self.trace.model_id, self.trace.server_id = last.model_id, last.server_id
        self.trace.tier, self.trace.status = last.tier, 200
        self.trace.outcome = Outcome.OK
        self.trace.queued_s = sum(stage.trace.queued_s for stage in self.stages)
        self.trace.prompt_tokens = usage["prompt_tokens"]
        self.trace.cached_tokens = usage["prompt_tokens_details"]["cached_tokens"]
        self.trace.completion_tokens = usage["completion_tokens"]

    def _stage(self, number: int, tier: str) -> Stage:
        trace = Trace(self.trace.request_id, CHAT_PATH, key=self.trace.key)
        return Stage(number, Wish(tier), trace)

    def _head(self) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.trace.request_id}",
            "object": "chat.completion.chunk",
            "created": int(self.trace.started_at),
            "model": TWO_STAGE,
        }

    def _chunk(self, delta: dict[str, Any], label: dict[str, Any]) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        return {**self._head(), "choices": [choice], "magi": label}


async def answer_two_stage(
    exchange: Exchange, run: TwoStageRun, *, is_stream: bool, hide: bool
) -> None:
    """Answer a client, in one piece or as both stages go on.

    Args:
        hide: leave out the thinking, and the draft with it.

    Raises:
        GatewayError: as TwoStageRun has it, if the answer had not begun.
        ClientGoneError: the client left; the stage that ran is cancelled.
    """
    try:
        with ClientWatch(exchange.receive):
            if is_stream:
                await _stream_out(exchange, run, hide=hide)
                return
            value = await run.whole()
            for choice in dicts(value.get("choices")) if hide else []:
                if isinstance(message := choice.get("message"), dict):
                    message.pop("reasoning_content", None)
    except GatewayError as error:
        note_error(run.trace, error)
        raise
    await exchange.answer(200, value, _headers(run))


async def _stream_out(exchange: Exchange, run: TwoStageRun, *, hide: bool) -> None:
    hider = make_filter(CHAT_PATH, EVENT_STREAM, is_thinking=False, hide=True, is_single=False)
    try:
        async for chunk in run.chunks():
            if not exchange.started:
                content_type = (b"content-type", EVENT_STREAM.encode())
                await exchange.start(200, [content_type, (b"cache-control", b"no-cache")])
            if run.trace.first_byte_s is None:
                run.trace.first_byte_s = run.trace.elapsed_s()
            event = event_of(chunk)
            await exchange.write(hider.feed(event) if hide and hider else event)
        await exchange.end(DONE)
    except (*_UNAVAILABLE, InvalidRequestError) as error:
        if not exchange.started:
            raise
        note_error(run.trace, error)
        run.trace.outcome = Outcome.BROKEN
        await exchange.end(error.event_for(CHAT_PATH, 0))


def _headers(run: TwoStageRun) -> list[Header]:
    said = {"model": run.trace.model_id, "tier": run.trace.tier, "warning": run.warning}
    return [
        (f"x-magi-{name}".encode(), value.encode("ascii", "replace"))
        for name, value in said.items()
        if value
    ]


def _says(delta: Mapping[str, Any]) -> bool:
    return any(delta.get(key) for key in delta if key != "role")


def _checked(messages: object) -> list[dict[str, Any]]:
    if not isinstance(messages, list) or not messages or len(dicts(messages)) != len(messages):
        message = "`messages` must be a list of messages, one at least."
        raise InvalidRequestError(message, param="messages")
    if messages[-1].get("role") == "assistant":
        message = "`two-stage` cannot go on with a message of the assistant: end with another."
        raise InvalidRequestError(message, param="messages")
    return messages
