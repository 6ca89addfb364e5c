"""What is set up for Prometheus and Grafana, and told in docs/, is what is exposed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

from magi_site.metrics.facts import OF_SERVER
from magi_site.metrics.families import LABELS
from tests.magi_site.metrics.conftest import Scraped

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(settings.BASE_DIR)
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "magi.json"
DOCS = ROOT / "docs" / "observability.md"
_NAME = re.compile(r"\bmagi_[a-z_]+\b")
_LABELLED = re.compile(r"(?:by|on|without|ignoring) \(([^)]*)\)|\{([^}]*)\}")
_OF_PROMETHEUS = {"job", "instance", "le"}
_PAIRS = {"(": ")", "[": "]", "{": "}"}


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    board = json.loads(DASHBOARD.read_text())
    panels = [target["expr"] for one in board["panels"] for target in one.get("targets", ())]
    return [rule["expr"] for rule in alerts()] + panels


def labels_in(expression: str) -> Iterator[str]:
    for grouped, matched in _LABELLED.findall(expression):
        yield from filter(None, (name.strip() for name in grouped.split(",")))
        yield from re.findall(r"([a-z_]+)\s*(?:=~|!=|!~|=)", matched)


def is_balanced(expression: str) -> bool:
    """Whether each bracket is closed, strings left out."""
    open_ones: list[str] = []
    for char in re.sub(r'"(\\.|[^"\\])*"', "", expression):
        if char in _PAIRS:
            open_ones.append(_PAIRS[char])
        elif char in _PAIRS.values() and (not open_ones or open_ones.pop() != char):
            return False
    return not open_ones


@pytest.fixture
async def exposed(scraped: Scraped) -> dict[str, str]:
    """Give the type of each metric that is exposed, by its name."""
    text = (await scraped.answer()).body.decode()
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def series(exposed: dict[str, str]) -> set[str]:
    """Return what may stand in an expression."""
    parts = ("_bucket", "_sum", "_count")
    histograms = {name for name, kind in exposed.items() if kind == "histogram"}
    others = exposed.keys() - histograms
    return others | {f"{name}{part}" for name in histograms for part in parts}


async def test_what_is_asked_for_is_exposed(exposed: dict[str, str]) -> None:
    asked = {name for one in expressions() for name in _NAME.findall(one)}

    assert asked - series(exposed) == set()


async def test_the_dashboard_shows_all_that_there_is(exposed: dict[str, str]) -> None:
    shown = set(_NAME.findall(DASHBOARD.read_text()))

    assert {name for name in exposed if not any(one.startswith(name) for one in shown)} == set()


async def test_the_docs_have_a_line_for_each_and_for_no_other(
    exposed: dict[str, str],
) -> None:
    rows = re.findall(r"^\| `(magi_[a-z_]+)` \| (\w+) \|", DOCS.read_text(), re.MULTILINE)

    assert dict(rows) == exposed
    assert len(rows) == len(exposed)


async def test_names_end_in_what_they_count(exposed: dict[str, str]) -> None:
    counters = {name for name, kind in exposed.items() if kind == "counter"}

    assert all(name.endswith("_total") for name in counters)
    assert not any(name.endswith("_total") for name in exposed.keys() - counters)
    assert not any(re.search(r"_(ms|mib|kib|minutes)(_|$)", name) for name in exposed)


def test_labels_are_those_that_there_are() -> None:
    told = {name for row in re.findall(r"\| ([^|]*) \| [^|]*\|$", DOCS.read_text(), re.M)
            for name in re.findall(r"`([a-z]+)`", row)}  # fmt: skip
    known = {*LABELS, *OF_SERVER, *_OF_PROMETHEUS, *told}

    assert {label for one in expressions() for label in labels_in(one)} - known == set()


def test_expressions_are_whole() -> None:
    assert [one for one in expressions() if not is_balanced(one)] == []


def test_the_dashboard_adds_up_what_the_tasks_of_all_nodes_count() -> None:
    """Several web processes tell the same of a node, so that is taken once before."""
    counted = re.compile(r"rate\((magi_tasks?_\w*total)\[")
    once = re.compile(r"sum by \(task\) \(max by \(node, task\) \(rate\((\w+)\[")
    board = json.loads(DASHBOARD.read_text())
    panels = [target["expr"] for one in board["panels"] for target in one.get("targets", ())]
    of_tasks = [one for one in panels if counted.search(one)]

    assert len(of_tasks) == 3
    assert [counted.findall(one) for one in of_tasks] == [once.findall(one) for one in of_tasks]


def test_each_alert_says_what_is_wrong_and_how_bad_it_is() -> None:
    for rule in alerts():
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["labels"]["severity"] in {"warning", "critical"}
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)


def test_prometheus_is_told_where_the_metrics_and_the_alerts_are() -> None:
    document = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())

    (job,) = document["scrape_configs"]
    assert (job["job_name"], job["metrics_path"]) == ("magi", "/metrics")
    assert [(PROMETHEUS / name).is_file() for name in document["rule_files"]] == [True]
