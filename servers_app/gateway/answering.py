"""The way of one request: its preset, its tier, its server, and what is noted of its answer."""

from servers_app.complexity.prompts import read_prompt
from servers_app.gateway.asgi import Exchange
from servers_app.gateway.bodies import ModelField, read_model, with_defaults
from servers_app.gateway.comments import early
from servers_app.gateway.filters import Filter
from servers_app.gateway.judging import Judge
from servers_app.gateway.live import Tables
from servers_app.gateway.media import refuse_remote_media
from servers_app.gateway.relay import Relay
from servers_app.gateway.routes import AUTO, TWO_STAGE, RoutingTable
from servers_app.gateway.stages import opener
from servers_app.gateway.thinking import make_filter, wants_thinking
from servers_app.gateway.tokens import TokenTap
from servers_app.gateway.trace import Trace
from servers_app.gateway.two_stage import TwoStageRun, answer_two_stage, plan_for
from servers_app.gateway.waiting import Finder
from servers_app.gateway.wishes import Wish, prefix_key

# Those that take llama-server's own names; a preset means nothing to the others.
SAMPLED_PATHS = frozenset({"/v1/chat/completions", "/v1/completions"})
_WRITING_PATHS = SAMPLED_PATHS | {"/v1/responses", "/v1/messages"}


class Answering:
    """Answers requests whose bodies are there."""

    def __init__(
        self,
        finder: Finder,
        relay: Relay,
        judge: Judge,
        *,
        keep_prompts: bool,
        allow_remote_media: bool,
    ) -> None:
        self._finder = finder
        self._relay = relay
        self._judge = judge
        self._keep_prompts = keep_prompts
        self._allow_remote_media = allow_remote_media

    async def answer(
        self, exchange: Exchange, body: bytes, trace: Trace, tables: Tables
    ) -> None:
        """Answer one request, and note in its trace what is found out on the way.

        Args:
            tables: as who asks may see them.

        Raises:
            GatewayError: it cannot be answered; nothing but comments was sent.
        """
        table = tables.current
        field = read_model(body)
        if not self._allow_remote_media:
            refuse_remote_media(field.values)
        trace.asked, trace.is_stream = field.value, field.stream
        hides = False
        if exchange.path in SAMPLED_PATHS:
            trace.preset = table.preset if field.preset is None else field.preset
            body, field = with_defaults(body, field, table.defaults(field.preset))
            hides = trace.preset in table.hidden_thinking
        wish = await self._wish(exchange.path, field, table, trace)
        if wish.name == TWO_STAGE and not table.is_model(TWO_STAGE):
            await self._answer_in_stages(exchange, body, tables, trace, hides=hides)
            return
        answer = early(exchange, is_stream=field.stream)
        search = self._finder.search(wish, trace, answer, tables=tables)
        listener = _Listener(exchange.path, field, table, trace, hides=hides)
        try:
            await self._relay.relay(
                exchange, body, field, search, trace,
                make_filter=listener.filter_for, tap=listener.hear,
            )  # fmt: skip
        finally:
            listener.note_tokens()

    async def _wish(
        self, path: str, field: ModelField, table: RoutingTable, trace: Trace
    ) -> Wish:
        name, tier = field.value, None
        is_judged = name == AUTO and path in _WRITING_PATHS and not table.is_model(AUTO)
        if is_judged or (self._keep_prompts and path in _WRITING_PATHS):
            prompt = read_prompt(path, field.values)
            if self._keep_prompts:
                trace.prompt = prompt.text
            if is_judged:
                began_s = trace.elapsed_s()
                score = await self._judge.score(table, prompt)
                trace.scored_s = began_s, trace.elapsed_s()
                trace.score, trace.scored_by = score.value, score.by
                trace.factors = score.factors
                tier = table.tier_for(score.value)
        prefix = None if table.is_single(name) else prefix_key(path, field.values)
        return Wish(name, tier, prefix)

    async def _answer_in_stages(
        self, exchange: Exchange, body: bytes, tables: Tables, trace: Trace, *, hides: bool
    ) -> None:
        plan = plan_for(tables.current, exchange.path)
        field = read_model(body)  # once more: with the preset's values now
        open_ = opener(self._relay, self._finder, tables)
        run = TwoStageRun(open_, plan, field.values, trace)
        await answer_two_stage(exchange, run, is_stream=field.stream, hide=hides)


class _Listener:
    """Sees one answer as it passes: counts its tokens, and says who separates its thinking."""

    __slots__ = ("_field", "_hides", "_path", "_table", "_tap", "_trace")

    def __init__(
        self, path: str, field: ModelField, table: RoutingTable, trace: Trace, *, hides: bool
    ) -> None:
        self._path, self._field, self._table, self._trace = path, field, table, trace
        self._hides = hides
        self._tap: TokenTap | None = None

    def filter_for(self, content_type: str) -> Filter | None:
        self._tap = TokenTap(content_type)
        # A stream whose thinking has no opening tag would have to be held back to its end, and
        # so would one of a model that does not think this time: those pass as they are.
        route = self._table.routes.get(self._trace.model_id)
        is_whole = content_type == "application/json"
        is_thinking = is_whole and route is not None and route.is_thinking
        return make_filter(
            self._path,
            content_type,
            is_thinking=is_thinking and wants_thinking(self._field.values),
            hide=self._hides,
            is_single=not self._field.keys & {"n", "n_cmpl"},
        )

    def hear(self, piece: bytes) -> None:
        if self._tap is not None:
            self._tap.feed(piece)

    def note_tokens(self) -> None:
        if self._tap is not None:
            counts = self._tap.counts()
            self._trace.prompt_tokens = counts.prompt
            self._trace.cached_tokens = counts.cached
            self._trace.completion_tokens = counts.completion
