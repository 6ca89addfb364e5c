"""How often each classifier finds the tier that a person gave a prompt.

    python -m benchmarks.routing [--url http://127.0.0.1:8080] [--examples FILE] [--json]
    python -m benchmarks.routing --fit

The heuristic is cross-validated: each tenth of the sample is scored with weights fitted to the
rest and to the examples of servers_app/complexity/. Beside it stand two floors. With the
address of a llama-server the embedding and the decision classifier are measured, too.
`--fit` writes servers_app/complexity/weights.py.
"""

import argparse
import asyncio
import json
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.routing_fit import Fit, fit
from benchmarks.routing_sample import TIERS, Labelled, load
from servers_app.complexity import examples as shipped_examples
from servers_app.complexity import heuristic, weights
from servers_app.complexity.decision import DecisionClassifier
from servers_app.complexity.embedding import EmbeddingClassifier
from servers_app.complexity.examples import Example
from servers_app.complexity.features import extract
from servers_app.complexity.prompts import Prompt
from servers_app.complexity.scores import BALANCED_MAX, FAST_MAX, Classifier

FOLDS: Final = 10
REPEATS: Final = 5
PATIENCE_S: Final = 120.0
SHIPPED: Final = Path(shipped_examples.__file__).with_name("examples.jsonl")
WEIGHTS: Final = Path(weights.__file__)


def main() -> None:
    arguments = _arguments()
    sample, training = load(), load([SHIPPED, *arguments.examples])
    if arguments.fit:
        WEIGHTS.write_text(_module(_fitted([*training, *sample])))
        return
    results = [
        _result("always balanced", sample, [5.0] * len(sample), None),
        _result("length only", sample, list(_by_length(sample)), None),
        *_heuristics(sample, training),
    ]
    if arguments.url:
        ask = _asker(arguments.url)
        given = [Example(row.text, TIERS[row.tier]) for row in load(arguments.examples)]
        embedding = EmbeddingClassifier(ask, arguments.model, given)
        for classifier in (embedding, DecisionClassifier(ask, arguments.model)):
            results.append(asyncio.run(_by_model(classifier, sample)))
    if arguments.json:
        sys.stdout.write(json.dumps(results, indent=2) + "\n")
    else:
        _print(Console(), results)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How often the tier of a prompt is found.")
    parser.add_argument(
        "--url", help="of a llama-server, started with --embeddings, or --model"
    )
    parser.add_argument("--model", default="default", help="the name it is asked by")
    parser.add_argument(
        "--examples", type=Path, action="append", default=[], metavar="FILE",
        help="more labelled prompts, in the format of the sample; repeatable",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--fit", action="store_true", help="write the weights, and stop")
    return parser.parse_args()


def _heuristics(
    sample: Sequence[Labelled], training: Sequence[Labelled]
) -> Iterator[dict[str, Any]]:
    microseconds = sorted(_microseconds(row.prompt) for row in sample)
    held_out = _fitted(training)
    scores = [held_out.score(extract(row.prompt)) for row in sample]
    yield _result("heuristic, fitted to the examples alone", sample, scores, microseconds)
    scores = [0.0] * len(sample)
    for fold in range(FOLDS):
        rest = [row for at, row in enumerate(sample) if at % FOLDS != fold]
        fitted = _fitted([*training, *rest])
        for at in range(fold, len(sample), FOLDS):
            scores[at] = fitted.score(extract(sample[at].prompt))
    yield _result("heuristic, cross-validated", sample, scores, microseconds)
    scores = [heuristic.score(row.prompt).value for row in sample]
    yield _result("heuristic as shipped (has seen the sample)", sample, scores, microseconds)


def _microseconds(prompt: Prompt) -> float:
    """Return how long a score takes at best: the machine's other work is not counted."""
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        heuristic.score(prompt)
        taken.append(time.perf_counter() - started)
    return min(taken) * 1e6


def _by_length(sample: Sequence[Labelled]) -> Iterator[float]:
    """Score by length alone, with the two limits that fit this very sample best."""
    chars = [row.prompt.text_chars for row in sample]
    limits = sorted(set(chars))[::4]

    def right(low: int, high: int) -> int:
        return sum(
            (size > low) + (size > high) == row.tier
            for size, row in zip(chars, sample, strict=True)
        )

    low, high = max(
        ((low, high) for low in limits for high in limits if low <= high),
        key=lambda pair: right(*pair),
    )
    for size in chars:
        yield 1.5 + 3.5 * ((size > low) + (size > high))


async def _by_model(classifier: Classifier, sample: Sequence[Labelled]) -> dict[str, Any]:
    """Score the sample by a model; `skipped` says why it cannot."""
    scores, microseconds = [], []
    try:
        if isinstance(classifier, EmbeddingClassifier):
            await classifier.prepare()
        for row in sample:
            started = time.perf_counter()
            scores.append((await classifier.score(row.prompt)).value)
            microseconds.append((time.perf_counter() - started) * 1e6)
    except Exception as error:  # whatever it is, the others are shown
        return {"classifier": classifier.name, "skipped": f"{type(error).__name__}: {error}"}
    return _result(classifier.name, sample, scores, sorted(microseconds))


def _asker(url: str) -> Callable[[str, str, dict[str, Any]], Any]:
    def post(path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the address is the caller's
            url.rstrip("/") + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:  # noqa: S310
            return json.load(response)

    async def ask(path: str, _model: str, body: dict[str, Any]) -> Any:
        return await asyncio.to_thread(post, path, body)

    return ask


def _tier(score: float) -> int:
    return (score > FAST_MAX) + (score > BALANCED_MAX)


def _result(
    name: str,
    sample: Sequence[Labelled],
    scores: Sequence[float],
    microseconds: Sequence[float] | None,
) -> dict[str, Any]:
    """Sum up: a cost is in tiers a prompt, too small a model apart from too large a one."""
    confusion = [[0] * len(TIERS) for _ in TIERS]
    other = [0, 0]  # right, of all, in other languages than English
    for row, score in zip(sample, scores, strict=True):
        confusion[row.tier][_tier(score)] += 1
        if row.language != "en":
            other[0] += _tier(score) == row.tier
            other[1] += 1
    cells = [(a, b, n) for a, line in enumerate(confusion) for b, n in enumerate(line)]
    return {
        "classifier": name,
        "prompts": len(sample),
        "accuracy": sum(n for a, b, n in cells if a == b) / len(sample),
        "accuracy_not_english": other[0] / max(1, other[1]),
        "under_routed": sum(n * (a - b) for a, b, n in cells if b < a) / len(sample),
        "over_routed": sum(n * (b - a) for a, b, n in cells if b > a) / len(sample),
        "confusion": confusion,
        "median_us": median(microseconds) if microseconds else None,
        "p99_us": quantiles(microseconds, n=100)[98] if microseconds else None,
    }


def _print(console: Console, results: Sequence[dict[str, Any]]) -> None:
    table = Table(
        "classifier", "right", "not English", "under", "over", "µs", "p99 µs", "F B P as F B P"
    )
    for row in results:
        if "skipped" in row:
            table.add_row(row["classifier"], row["skipped"])
            continue
        table.add_row(
            row["classifier"],
            f"{row['accuracy']:.1%}",
            f"{row['accuracy_not_english']:.1%}",
            f"{row['under_routed']:.3f}",
            f"{row['over_routed']:.3f}",
            "-" if row["median_us"] is None else f"{row['median_us']:,.0f}",
            "-" if row["p99_us"] is None else f"{row['p99_us']:,.0f}",
            " / ".join(" ".join(map(str, line)) for line in row["confusion"]),
        )
    console.print(table)
    console.print("Under and over: tiers too low and too high, a prompt.")


def _fitted(rows: Sequence[Labelled]) -> Fit:
    return fit([extract(row.prompt) for row in rows], [row.tier for row in rows])


def _module(fitted: Fit) -> str:
    lines = [f'    "{name}": {weight},' for name, weight in fitted.weights.items()]
    return "\n".join(
        [
            '"""Points of each feature. Written by `python -m benchmarks.routing --fit`."""',
            "",
            "from collections.abc import Mapping",
            "from typing import Final",
            "",
            f"BASE: Final = {fitted.base}",
            "WEIGHTS: Final[Mapping[str, float]] = {",
            *lines,
            "}",
            "",
        ]
    )


if __name__ == "__main__":
    main()
