"""What is to become faster, and how fast a set of settings is by it. Pure."""

import math
from enum import StrEnum
from statistics import median
from typing import NamedTuple


class Goal(StrEnum):
    GENERATION = "generation"
    PROMPT = "prompt"
    BOTH = "both"


class Speed(NamedTuple):
    """The samples of one trial, in tokens per second."""

    prompt: tuple[float, ...]
    generation: tuple[float, ...]

    @property
    def prompt_median(self) -> float:
        return median(self.prompt)

    @property
    def generation_median(self) -> float:
        return median(self.generation)


def gain(speed: Speed, baseline: Speed, goal: Goal) -> float:
    """Return how many times as fast as `baseline` it is; of both, the geometric mean.

    >>> gain(Speed((100.0,), (30.0,)), Speed((100.0,), (20.0,)), Goal.GENERATION)
    1.5
    """
    prompt = speed.prompt_median / baseline.prompt_median
    generation = speed.generation_median / baseline.generation_median
    match goal:
        case Goal.PROMPT:
            return prompt
        case Goal.GENERATION:
            return generation
        case Goal.BOTH:
            return math.sqrt(prompt * generation)
