"""A pytest plugin inside llama.cpp's server tests; see llama_tests.py."""

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

TIMEOUT_S = 60
N_PREDICT = 64
SEED = 11434
_LIMITS = {"max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict"}
# What llama-server serves under both names, with the same handler.
_TWICE = re.compile(r"^(http://[^/]+)(/(chat/completions|responses|rerank|models)\b)")
_SEEDED = {"/v1/completions", "/v1/chat/completions"}
_SERVED = re.compile(r"/v1/(?!models\b)")

_MODEL = os.environ["LLAMA_TESTS_MODEL"]
_request = requests.Session.request
_results: dict[str, tuple[str, str, list[str]]] = {}
_outside: list[str] = []


def pytest_configure() -> None:
    requests.Session.request = _asked  # type: ignore[method-assign,assignment] # both ways


def _asked(session: requests.Session, method: str, url: str, **options: Any) -> Any:
    url = _TWICE.sub(r"\1/v1\2", url)
    path = urlsplit(url).path
    if not _SERVED.match(path) and path not in _outside:
        _outside.append(path)
    body = options.get("json")
    if isinstance(body, dict):
        body = dict(body)
        if path.startswith("/v1/") and not body.get("model"):
            body["model"] = _MODEL
        if not _LIMITS & body.keys():  # the tests' own servers are started with --n-predict
            body["n_predict"] = N_PREDICT
        if path in _SEEDED:  # their models, which are not here, never end by themselves
            body.setdefault("seed", SEED)
        options["json"] = body
    options["timeout"] = min(options.get("timeout") or TIMEOUT_S, TIMEOUT_S)
    return _request(session, method, url, **options)


def pytest_runtest_setup() -> None:
    _outside.clear()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when != "call" and report.outcome == "passed":
        return
    if report.nodeid in _results and report.when == "teardown":
        return
    crash = getattr(report.longrepr, "reprcrash", None)
    where = f"{Path(crash.path).name}:{crash.lineno}" if crash else ""
    _results[report.nodeid] = (report.outcome, where, list(_outside))


def pytest_sessionfinish() -> None:
    Path(os.environ["LLAMA_TESTS_REPORT"]).write_text(json.dumps(_results))
