"""How complex a request is, by the classifier that the active profile names."""

import asyncio
import json
import logging
import secrets
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from servers_app.complexity.prompts import Prompt
from servers_app.complexity.scores import Ask, Score
from servers_app.complexity.scoring import Kind, Scorer
from servers_app.gateway.background import Complaints
from servers_app.gateway.control import Examples
from servers_app.gateway.errors import UpstreamError
from servers_app.gateway.routes import RoutingTable
from servers_app.gateway.stages import Open
from servers_app.gateway.trace import Trace
from servers_app.gateway.wishes import Wish

logger = logging.getLogger(__name__)

LEARN_INTERVAL_S: Final = 60.0
_KINDS: Final[Mapping[str, Kind]] = {
    "heuristic": "heuristic",
    "embedding": "embedding",
    "decision": "decision",
}


class Judge:
    """Scores requests. A classifier that asks a model asks it through this gateway."""

    def __init__(self, open_: Open, examples: Examples) -> None:
        """Take what asks a model, and what gives the examples that people labelled."""
        self._ask = _asker(open_)
        self._examples = examples
        self._scorers: dict[tuple[str, str], Scorer] = {}  # a few: as many as were named
        self._complaints = Complaints(
            logger,
            failing="Relabelled requests could not be read as examples.",
            working="Relabelled requests are read as examples again.",
        )

    async def score(self, table: RoutingTable, prompt: Prompt) -> Score:
        """Score a prompt: at once, unless a model is to be asked."""
        scorer = self._scorer(table)
        score = scorer.score_now(prompt)
        return await scorer.score(prompt) if score is None else score

    async def keep_learning(self) -> NoReturn:
        """Take in what people relabel, where a classifier goes by it. Ends when cancelled."""
        while True:
            await asyncio.sleep(LEARN_INTERVAL_S)
            if any(model for _, model in self._scorers):
                with self._complaints:
                    examples = await self._examples()
                    for scorer in self._scorers.values():
                        scorer.learn(examples)

    async def close(self) -> None:
        for scorer in self._scorers.values():
            await scorer.close()

    def _scorer(self, table: RoutingTable) -> Scorer:
        named = (table.classifier, table.classifier_model)
        scorer = self._scorers.get(named)
        if scorer is None:
            kind = _KINDS.get(table.classifier, "auto")
            scorer = Scorer(kind, self._ask, table.classifier_model)
            self._scorers[named] = scorer
        return scorer


def _asker(open_: Open) -> Ask:
    async def ask(path: str, model: str, body: dict[str, Any]) -> dict[str, Any]:
        trace = Trace(secrets.token_hex(16), path)
        async with open_(path, body, Wish(model), trace) as answer:
            whole = b"".join([piece async for piece in answer])
        if answer.status != 200:
            raise UpstreamError(model, f"answered {path} with {answer.status}")
        value = json.loads(whole)
        if not isinstance(value, dict):
            raise UpstreamError(model, f"answered {path} with no JSON object")
        return value

    return ask
