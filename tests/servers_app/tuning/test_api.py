"""The calls of searches: asked for, followed, applied and refused."""

from typing import Any

import pytest
from django.test import Client

from profiles_app.models import ModelRunSettings
from servers_app.benchmark_models import Benchmark, BenchmarkKind, BenchmarkState
from tests.conftest import MakeModel

pytestmark = pytest.mark.django_db

PATH = "/api/models/benchmarks"


@pytest.fixture(autouse=True)
def queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers_app.tuning.api.require_worker", lambda _node: None)
    monkeypatch.setattr("servers_app.tuning.service.enqueue", lambda *_a, **_o: None)


def ask(client: Client, body: Any) -> Any:
    return client.post(f"{PATH}/tune?wait=0", body, content_type="application/json")


def test_a_search_is_asked_for_and_followed(client: Client, make_model: MakeModel) -> None:
    make_model("m")

    asked = ask(client, {"model_id": "m", "minutes": 3, "goal": "prompt"})
    shown = client.get(asked.json()["status_url"]).json()

    assert asked.status_code == 202
    assert (shown["kind"], shown["state"]) == ("tune", "queued")
    assert shown["plan"] == {"minutes": 3.0, "goal": "prompt", "allow_lossy": False}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        pytest.param({}, 400, "model_id", id="nothing"),
        pytest.param({"model_id": "x"}, 404, "Model not found", id="an unknown model"),
        pytest.param({"model_id": "m", "minutes": 0}, 400, "minutes", id="no time"),
        pytest.param(
            {"model_id": "m", "goal": 1}, 400, "generation, prompt, both", id="no goal"
        ),
        pytest.param({"model_id": "m", "threads": 3}, 400, "threads", id="an unknown key"),
        pytest.param([], 400, "the body: ", id="no object"),
    ],
)
def test_what_is_no_search_is_refused_by_name(
    client: Client, make_model: MakeModel, body: Any, status: int, said: str
) -> None:
    make_model("m")

    refused = ask(client, body)

    assert refused.status_code == status
    assert said in refused.json()["detail"]
    assert not Benchmark.objects.exists()


def test_what_was_found_is_taken_over_by_a_call_of_its_own(
    client: Client, make_model: MakeModel
) -> None:
    make_model("m")
    found = Benchmark.objects.create(
        kind=BenchmarkKind.TUNE,
        model_id="m",
        node="local",
        state=BenchmarkState.FINISHED,
        outcome={"settings": {"threads": 1}},
    )

    applied = client.post(f"{PATH}/{found.pk}/apply-settings")
    Benchmark.objects.update(outcome={})
    refused = client.post(f"{PATH}/{found.pk}/apply-settings")

    assert applied.json()["settings"] == {"threads": 1}
    assert ModelRunSettings.objects.get().run_settings == {"threads": 1}
    assert refused.status_code == 409
    assert client.post(f"{PATH}/99/apply-settings").status_code == 404
