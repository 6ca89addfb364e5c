"""The calls that show servers."""

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from servers_app.keys import server_key
from servers_app.models import Server, ServerEvent, ServerState, Wanted
from tests.conftest import MakeModel, MakeServer

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/api/models/servers"
READY = {"wanted": Wanted.RUNNING, "state": ServerState.READY, "pid": 4242}


def test_a_server_is_shown_with_everything(client: Client, make_server: MakeServer) -> None:
    server = make_server(
        **READY,
        argv=["llama-server", "--port", "8080"],
        launched_at=timezone.now(),
        load_progress=1.0,
        facts={"n_ctx": 4096},
        memory_mib=900,
        peak_mib=812,
        asked_by="ada",
    )
    ServerEvent.objects.create(
        server=server, who="ada", why="she wanted it", to_state="ready", seconds=1.5
    )

    shown = client.get(f"{URL}/qwen3_4p0b_q4km_fast").json()

    assert shown["argv"] == ["llama-server", "--port", "8080"]
    assert (shown["is_ready"], shown["pid"], shown["port"]) == (True, 4242, 8080)
    assert (shown["facts"], shown["memory_mib"], shown["peak_mib"]) == (
        {"n_ctx": 4096},
        900,
        812,
    )
    (event,) = shown["events"]
    assert (event["who"], event["to_state"], event["seconds"]) == ("ada", "ready", 1.5)
    promised = "engine build note load_progress log_tail exit_code restarts next_start_at"
    assert set(promised.split()) <= set(shown)


def test_the_last_fifty_events_are_shown_the_newest_first(
    client: Client, make_server: MakeServer
) -> None:
    server = make_server()
    for number in range(60):
        ServerEvent.objects.create(server=server, why=str(number))

    events = client.get(f"{URL}/qwen3_4p0b_q4km_fast").json()["events"]

    assert [event["why"] for event in events] == [str(n) for n in range(59, 9, -1)]


def test_a_server_that_writes_its_key_is_shown_without_it(
    client: Client, make_server: MakeServer
) -> None:
    server = make_server(wanted=Wanted.RUNNING, state=ServerState.FAILED)
    key = server_key(server.pk)
    Server.objects.update(log_tail=f"api_key: {key}", last_error=f"bad key {key}")

    answer = client.get(f"{URL}/qwen3_4p0b_q4km_fast")

    assert key not in answer.content.decode()
    assert answer.json()["log_tail"] == "api_key: [its key]"


def test_a_server_that_was_never_started_and_one_of_no_model_are_not_found(
    client: Client, make_model: MakeModel
) -> None:
    make_model("here")

    never, nowhere = client.get(f"{URL}/here"), client.get(f"{URL}/hare")

    assert (never.status_code, nowhere.status_code) == (404, 404)
    assert never.json() == {"detail": "here has never been started."}
    assert nowhere.json() == {"detail": "Model not found: hare. Available: here."}


def test_among_many_models_the_similar_ones_are_named(
    client: Client, make_model: MakeModel
) -> None:
    for number in range(20):
        make_model(f"qwen3_{number}p0b_q4km_fast")
    make_model("llama")

    detail = client.get(f"{URL}/qwen3_7p0b_q4km").json()["detail"]

    assert "among 21" in detail
    assert "qwen3_7p0b_q4km_fast" in detail
    assert "llama" not in detail


def test_the_list_has_those_at_rest_when_all_are_asked_for(
    client: Client, make_server: MakeServer
) -> None:
    make_server(on_request=True)

    shown = client.get(f"{URL}?all=true").json()

    assert (shown["total_servers"], shown["ready_servers"]) == (1, 0)
    assert shown["servers"][0]["on_request"] is True
    assert client.get(URL).json()["servers"] == []
    assert client.get(f"{URL}?all=perhaps").json() == {
        "detail": "all=perhaps is not true or false."
    }


def test_the_list_costs_one_query_however_many_there_are(
    client: Client,
    make_model: MakeModel,
    make_server: MakeServer,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number, name in enumerate("abcdef"):
        make_server(make_model(name), **READY, port=8080 + number)

    with django_assert_max_num_queries(1):
        assert client.get(URL).json()["ready_servers"] == 6
