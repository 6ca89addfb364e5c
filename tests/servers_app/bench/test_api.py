"""The calls of benchmarks."""

from typing import Any

import pytest
from django.test import Client

from models_app.errors import NoWorkerError
from servers_app.benchmark_models import Benchmark, BenchmarkState
from tests.conftest import MakeModel
from tests.servers_app.bench.conftest import RATES, MakeBenchmark

pytestmark = pytest.mark.django_db

URL = "/api/models/benchmarks"


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that answers, and has not begun yet."""
    monkeypatch.setattr("servers_app.bench.api.require_worker", lambda _node: None)
    monkeypatch.setattr("servers_app.tasks.measure.apply_async", lambda *_args, **_more: None)


def post(client: Client, body: object, query: str = "?wait=0") -> Any:
    return client.post(f"{URL}{query}", body, content_type="application/json")


@pytest.mark.usefixtures("worker")
def test_a_benchmark_that_is_asked_for_goes_on(client: Client, make_model: MakeModel) -> None:
    make_model("a")

    response = post(client, {"model_id": "a", "contexts": [64], "repeats": 2})

    benchmark = Benchmark.objects.get()
    assert response.status_code == 202
    assert response.json() == {
        "message": "The benchmark goes on",
        "benchmark_id": benchmark.pk,
        "status_url": f"{URL}/{benchmark.pk}",
    }
    assert benchmark.plan["contexts"] == [64]
    assert benchmark.plan["clients"] == [1, 2, 4]
    assert client.get(f"{URL}/{benchmark.pk}").json()["state"] == "queued"


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        pytest.param({}, 400, "model_id:", id="no model"),
        pytest.param(
            {"model_id": "nobody"}, 404, "Model not found: nobody", id="no such model"
        ),
        pytest.param({"model_id": "a", "repeats": 51}, 400, "repeats:", id="too many rounds"),
        pytest.param({"model_id": "a", "contexts": ["x"]}, 400, "contexts[0]:", id="no number"),
        pytest.param({"model_id": "a", "clients": []}, 400, "clients:", id="nobody asks"),
        pytest.param(
            {"model_id": "a", "target": "x"}, 400, "own, running", id="no such server"
        ),
        pytest.param({"model_id": "a", "context": [1]}, 400, "context", id="an unknown key"),
        pytest.param([], 400, "the body: ", id="no mapping"),
        pytest.param({"model_id": "gone"}, 409, "its file is missing", id="cannot run"),
        pytest.param({"model_id": "words"}, 400, "generates nothing", id="an embedding model"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    client: Client, make_model: MakeModel, body: object, status: int, expected: str
) -> None:
    make_model("a")
    make_model("gone", is_missing=True)
    make_model("words", kind="embedding")

    response = post(client, body)

    assert response.status_code == status, response.content
    assert expected in response.json()["detail"]
    assert not Benchmark.objects.exists()


def test_without_a_worker_nothing_is_asked_for(
    client: Client, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(node: str) -> None:
        raise NoWorkerError(node)

    monkeypatch.setattr("servers_app.bench.api.require_worker", none)
    make_model("a")

    assert post(client, {"model_id": "a"}).status_code == 503
    assert not Benchmark.objects.exists()


def test_benchmarks_are_listed_the_newest_first(
    client: Client, make_benchmark: MakeBenchmark
) -> None:
    make_benchmark("a")
    make_benchmark("b", state=BenchmarkState.FAILED, error="It broke.")

    found = client.get(URL).json()

    assert found["count"] == 2
    assert [each["model_id"] for each in found["benchmarks"]] == ["b", "a"]
    assert "figures" not in found["benchmarks"][0]
    assert client.get(URL, {"model": "a", "state": "finished"}).json()["count"] == 1
    assert len(client.get(URL, {"limit": "1"}).json()["benchmarks"]) == 1
    assert client.get(URL, {"limit": "0"}).status_code == 400
    assert client.get(URL, {"state": "lost"}).status_code == 400


def test_one_is_shown_with_every_sample(
    client: Client, make_benchmark: MakeBenchmark, make_model: MakeModel
) -> None:
    make_model()
    benchmark = make_benchmark()

    found = client.get(f"{URL}/{benchmark.pk}").json()

    assert found["figures"][0]["values"]["generation_tokens_per_s"] == RATES
    assert found["expected_time_seconds"] == 11.0
    assert found["challenges"] == []
    assert client.get(f"{URL}/{benchmark.pk + 1}").status_code == 404


def test_one_is_cancelled(client: Client, make_benchmark: MakeBenchmark) -> None:
    queued = make_benchmark(state=BenchmarkState.QUEUED)

    found = client.post(f"{URL}/{queued.pk}/cancel").json()

    assert (found["state"], found["error"]) == ("cancelled", "It was cancelled.")
    assert client.post(f"{URL}/{queued.pk + 1}/cancel").status_code == 404


def test_two_are_compared(client: Client, make_benchmark: MakeBenchmark) -> None:
    a, b = make_benchmark(), make_benchmark(rates=[rate / 2 for rate in RATES], machine="old")

    found = client.get(f"{URL}/compare", {"a": a.pk, "b": b.pk}).json()

    assert found["is_noise"] is False
    assert found["verdict"].startswith("They were measured on different machines")
    line = next(each for each in found["lines"] if each["verdict"] == "worse")
    assert line["sentence"] == "50.0 % slower, more than the spread of both"


@pytest.mark.parametrize(
    ("query", "status"),
    [({}, 400), ({"a": "1"}, 400), ({"a": "x", "b": "1"}, 400), ({"a": "8", "b": "9"}, 404)],
)
def test_what_cannot_be_compared_is_refused(
    client: Client, query: dict[str, str], status: int
) -> None:
    response = client.get(f"{URL}/compare", query)

    assert response.status_code == status
    assert response.json()["detail"]
