"""How well a model suits a task: points out of 10, and a sentence for each of them.

It knows no database. What speaks for a model is what its file says, what was measured, what
people voted and how its requests ended, in this order of how soon it is known, and the
other way round in how much it is worth once there is enough of it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from models_app.ggml_types import bits_per_weight
from servers_app.comparing.tally import Tally

VISION: Final = "vision"
EMBEDDING: Final = "embedding"

MOST: Final = 10.0
UNKNOWN_SIZE: Final = 3.0  # billions; what a file that does not say is taken for
LONG_CONTEXT: Final = 32_768  # tokens
LONG_PASSAGE: Final = 8_192  # tokens, of an embedding
MAX_VOTED: Final = 2.5  # points, either way
EVEN_VOTES: Final = 6  # as many stand against the first votes as if they had been even
MAX_FAILED: Final = 3.0
CALM_REQUESTS: Final = 10  # as many stand beside the first requests as if they had gone well
FEW_REQUESTS: Final = 5  # fewer say nothing about speed


@dataclass(frozen=True, slots=True)
class Traits:
    """What a model's file and name say."""

    kind: str
    billions: float | None
    active_billions: float | None  # of a mixture of experts
    quantization: str
    context_length: int | None
    is_coder: bool
    is_instruct: bool
    is_thinking: bool
    has_tools: bool
    has_projector: bool
    words: frozenset[str]  # of its name, lower case


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a model beyond its file."""

    generation_tokens_per_s: float | None = None  # as benchmarked
    prompt_tokens_per_s: float | None = None
    requests: int = 0  # of late
    failures: int = 0
    served_tokens_per_s: float | None = None  # of those requests, waiting included
    votes: Mapping[str, Tally] = field(default_factory=dict)  # by task


class Points(NamedTuple):
    points: float
    reason: str  # a sentence


class _Speed(NamedTuple):
    none: float  # tokens a second that are worth nothing
    all: float  # and all that speed can be worth


_GENERATION: Final = _Speed(2.0, 60.0)
_PROMPT: Final = _Speed(50.0, 2000.0)


@dataclass(frozen=True, slots=True)
class _Wants:
    """What a task is best served by: the points for it, all of them together about 10."""

    size: float
    full_billions: float = 70.0
    base: float = 0.0
    instruct: float = 0.0
    coder: float = 0.0
    thinking: float = 0.0
    tools: float = 0.0
    context: float = 0.0
    speed: float = 0.0
    words: tuple[str, ...] = ()


_WRITERS: Final = (
    "creative", "fiction", "mythomax", "novel", "roleplay", "rp", "stheno", "story",
    "storyteller", "writer", "writing",
)  # fmt: skip
_WORDS: Final = 1.0  # points of a model that says in its name what it is for

WANTS: Final[Mapping[str, _Wants]] = {
    "general": _Wants(
        size=4.5, instruct=2.0, coder=-0.5, thinking=0.3, tools=0.4, context=0.6, speed=1.5
    ),
    "coding": _Wants(
        size=4.0, instruct=1.0, coder=2.5, thinking=0.5, tools=0.5, context=0.6, speed=0.9
    ),
    "analysis": _Wants(
        size=4.5, instruct=1.2, thinking=2.0, tools=0.4, context=1.2, speed=0.7
    ),
    "creative": _Wants(
        size=4.5, instruct=1.8, coder=-1.5, thinking=-0.3, context=0.6, speed=1.3,
        words=_WRITERS,
    ),
    VISION: _Wants(
        size=4.5, base=1.5, instruct=1.5, thinking=0.3, context=0.6, speed=1.4
    ),
    EMBEDDING: _Wants(size=2.5, full_billions=8.0, base=4.0, context=1.5, speed=2.0),
}  # fmt: skip


def exclusion(traits: Traits, task: str) -> str:
    """Return why a model cannot do a task at all; empty if it can."""
    if traits.kind == "reranker":
        return "It ranks texts, and answers no task."
    if (traits.kind == "embedding") != (task == EMBEDDING):
        if traits.kind == "embedding":
            return "It turns text into vectors, and writes none."
        return "It writes text; embeddings need an embedding model."
    if task == VISION and not traits.has_projector:
        return "It sees no images: it has no projector (mmproj)."
    return ""


def aptitude(traits: Traits, evidence: Evidence, task: str) -> tuple[float, tuple[str, ...]]:
    """Return the score of a model for a task that it is not excluded from, and why.

    Returns:
        0 to 10 to one decimal place: what is nearer than that is as good.
    """
    parts = list(_parts(traits, evidence, task))
    score = min(max(sum(part.points for part in parts), 0.0), MOST)
    return round(score, 1), tuple(_sentence(part) for part in parts)


def _sentence(part: Points) -> str:
    return f"{part.reason} ({part.points:+.1f})."


def _parts(traits: Traits, evidence: Evidence, task: str) -> Iterator[Points]:
    wants = WANTS[task]
    yield _size(traits, wants)
    if wants.base:
        what = "It sees images" if task == VISION else "It is an embedding model"
        yield Points(wants.base, what)
    yield from _of_its_kind(traits, wants)
    yield from _quantization(traits.quantization)
    yield from _context(traits, wants, task)
    yield _speed(evidence, wants, task)
    yield from _votes(evidence.votes.get(task, Tally()), task)
    yield from _failures(evidence)


def _size(traits: Traits, wants: _Wants) -> Points:
    """Return the points for parameters: each doubling counts about as much."""
    billions = traits.billions
    if not billions:
        share = math.log2(1 + UNKNOWN_SIZE) / math.log2(1 + wants.full_billions)
        return Points(wants.size * min(share, 1.0), "Its size is not known")
    counted, what = billions, f"It has {_amount(billions)} parameters"
    if traits.active_billions and traits.active_billions < billions:
        counted = math.sqrt(billions * traits.active_billions)
        what += f", {_amount(traits.active_billions)} of them at work for each token"
    share = math.log2(1 + counted) / math.log2(1 + wants.full_billions)
    return Points(wants.size * min(share, 1.0), what)


def _amount(billions: float) -> str:
    return f"{billions:g} billion" if billions >= 1 else f"{1000 * billions:g} million"


def _of_its_kind(traits: Traits, wants: _Wants) -> Iterator[Points]:
    for is_so, points, reason in (
        (traits.is_instruct, wants.instruct, "It was trained to follow instructions"),
        (traits.is_coder, wants.coder, "It was trained for code"),
        (traits.is_thinking, wants.thinking, "It thinks before it answers"),
        (traits.has_tools, wants.tools, "It can call tools"),
    ):
        if is_so and points:
            yield Points(points, reason)
    if named := traits.words.intersection(wants.words):
        yield Points(_WORDS, f"It is called {min(named)}")


def _quantization(quantization: str) -> Iterator[Points]:
    bits = bits_per_weight(quantization)
    if bits is None:
        return
    if bits < 3:
        yield Points(-1.5, f"{quantization} leaves little of its precision")
    elif bits < 4:
        yield Points(-0.7, f"{quantization} costs precision")
    elif bits >= 8:
        yield Points(0.2, f"{quantization} keeps its precision")


def _context(traits: Traits, wants: _Wants, task: str) -> Iterator[Points]:
    tokens = traits.context_length
    if not tokens or not wants.context:
        return
    long = LONG_PASSAGE if task == EMBEDDING else LONG_CONTEXT
    share = _between(tokens, long / 16, long)
    if share:
        yield Points(wants.context * share, f"It takes a context of {tokens:,} tokens")


def _speed(evidence: Evidence, wants: _Wants, task: str) -> Points:
    """Return the points for speed; half of them where nobody has measured it."""
    if task == EMBEDDING:
        measured, speed, verb = evidence.prompt_tokens_per_s, _PROMPT, "reads"
    else:
        measured, speed, verb = evidence.generation_tokens_per_s, _GENERATION, "writes"
    how = "as benchmarked"
    if measured is None and task != EMBEDDING:
        if evidence.requests - evidence.failures >= FEW_REQUESTS:
            measured = evidence.served_tokens_per_s or None
        how = "as its requests of late had it"
    if measured is None:
        return Points(wants.speed / 2, "Nobody has measured how fast it is")
    share = _between(measured, speed.none, speed.all)
    return Points(wants.speed * share, f"It {verb} {_rate(measured)} tokens a second, {how}")


def _rate(tokens_per_s: float) -> str:
    return f"{tokens_per_s:,.0f}" if tokens_per_s >= 100 else f"{tokens_per_s:.2g}"


def _votes(tally: Tally, task: str) -> Iterator[Points]:
    count = tally.wins + tally.losses + tally.ties
    if not count:
        return
    won = tally.wins + tally.ties / 2
    share = (won + EVEN_VOTES / 2) / (count + EVEN_VOTES)
    what = f"People preferred it in {won:g} of {count} comparisons for {task}"
    yield Points(MAX_VOTED * (2 * share - 1), what)


def _failures(evidence: Evidence) -> Iterator[Points]:
    if evidence.failures:
        share = evidence.failures / (evidence.requests + CALM_REQUESTS)
        what = f"{evidence.failures:,} of its last {evidence.requests:,} requests failed"
        yield Points(-MAX_FAILED * share, what)


def _between(value: float, low: float, high: float) -> float:
    """Return where a value lies between two, by doublings: 0 to 1."""
    if value <= low:
        return 0.0
    return min(math.log2(value / low) / math.log2(high / low), 1.0)


def words_of(*texts: str) -> frozenset[str]:
    """Return the words of some names, lower case.

    >>> sorted(words_of("Gemma 3 Story-Writer"))
    ['3', 'gemma', 'story', 'writer']
    """
    return frozenset(word for text in texts for word in _split(text))


def _split(text: str) -> Sequence[str]:
    kept = (char if char.isalnum() else " " for char in text.lower())
    return "".join(kept).split()
