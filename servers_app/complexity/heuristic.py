"""A score from marks and words alone: no model, no task, well under a millisecond."""

from servers_app.complexity.features import extract
from servers_app.complexity.prompts import Prompt
from servers_app.complexity.scores import HEURISTIC, Score, clipped
from servers_app.complexity.weights import BASE, WEIGHTS


def score(prompt: Prompt) -> Score:
    """Score a prompt; its factors and `base` add up to what is cut to 0 and 10."""
    factors = {"base": BASE}
    for name, value in extract(prompt).items():
        factor = name.partition(".")[0]
        factors[factor] = factors.get(factor, 0.0) + WEIGHTS.get(name, 0.0) * value
    total = sum(factors.values())
    return Score(
        clipped(total),
        HEURISTIC,
        {name: round(points, 2) for name, points in factors.items() if round(points, 2)},
    )
