from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from models_app.downloads import worker as download_worker
from servers_app.manager import available
from tests.servers_app.scripted_worker import ScriptedWorker

Call = Callable[..., Any]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of a hub, unless a test has one of its own."""
    monkeypatch.setattr(available._hub, "models", list)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> ScriptedWorker:
    """A worker that has whatever server is asked for ready at once."""
    return ScriptedWorker(monkeypatch)


@pytest.fixture
def fetching(worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that fetches at once, too."""
    monkeypatch.setattr(
        "models_app.downloads.service.enqueue",
        lambda _task, pk, **_options: download_worker.run(pk),
    )


@pytest.fixture
def ask(client: Client) -> Call:
    """Return a function that calls /ai/, by POST if there is a body."""

    def call(path: str, body: object = None, **headers: str) -> Any:
        if body is None:
            return client.get(f"/ai/{path}", headers=headers)
        return client.post(
            f"/ai/{path}", body, content_type="application/json", headers=headers
        )

    return call
