"""`manage.py servers logs|events|command`: what they print."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from profiles_app.services import make_active
from servers_app import logs
from servers_app.keys import server_key
from servers_app.models import ServerEvent, ServerState, Wanted
from tests.conftest import MakeModel, MakeProfile, MakeServer

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _own_data(settings: Settings, tmp_path: Path) -> None:
    settings.MAGI_DATA_DIR = tmp_path
    settings.LLAMA_SERVER_PATH = "embedded"


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs the command and returns what it printed."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        call_command("servers", *arguments)
        return capsys.readouterr().out

    return run


def write_log(server_id: int, text: str) -> None:
    path = logs.log_path(server_id)
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_logs_prints_the_last_lines(said: Any, make_server: MakeServer) -> None:
    server = make_server()
    write_log(server.pk, "one\ntwo\nthree\n")

    assert said("logs", "qwen3_4p0b_q4km_fast", "-n", "2") == "two\nthree\n"


def test_logs_follows_until_ctrl_c(
    said: Any, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server()
    write_log(server.pk, "one\ntwo\n")
    waits = iter(["three\n"])

    def wait(_self: object, _seconds: float) -> None:
        with logs.log_path(server.pk).open("a") as log:
            try:
                log.write(next(waits))
            except StopIteration:
                raise KeyboardInterrupt from None

    monkeypatch.setattr("threading.Event.wait", wait)

    assert said("logs", "qwen3_4p0b_q4km_fast", "-n", "1", "-f") == "two\nthree\n"


def test_logs_of_another_node_are_to_be_read_there(make_server: MakeServer) -> None:
    make_server(node="attic")

    with pytest.raises(CommandError, match="on node attic: run this there"):
        call_command("servers", "logs", "qwen3_4p0b_q4km_fast")


@pytest.mark.parametrize("command", ["logs", "events"])
@pytest.mark.parametrize("count", ["0", str(10**20)])
def test_a_number_of_lines_that_none_can_have_is_refused(
    make_server: MakeServer, command: str, count: str
) -> None:
    make_server()

    with pytest.raises(CommandError, match=f"-n {count}: it is a number from 1 to 1000000"):
        call_command("servers", command, "qwen3_4p0b_q4km_fast", "-n", count)


def test_events_shows_who_wanted_what_and_what_came_of_it(
    said: Any, make_model: MakeModel, make_server: MakeServer
) -> None:
    server = make_server(make_model("a"), replica=1)
    ServerEvent.objects.create(
        server=server,
        kind=ServerEvent.Kind.WANTED,
        who="ada",
        why="by the API",
        from_state="stopped",
        to_state="running",
    )
    ServerEvent.objects.create(
        server=server, from_state="starting", to_state="ready", seconds=1.53, why="it answers"
    )
    ServerEvent.objects.create(server=make_server(make_model("b")), why="another's")

    lines = said("events", "a").splitlines()

    assert len(lines) == 3
    assert "a (replica 1)" in lines[1]
    assert "starting → ready" in lines[1]
    assert "1.5 s" in lines[1]
    assert "ada" in lines[2]
    assert "wanted stopped → running" in lines[2]
    assert "another's" in said("events")
    assert len(said("events", "-n", "1").splitlines()) == 2
    assert json.loads(said("events", "a", "--json"))[1]["who"] == "ada"


def test_events_of_a_new_installation_are_none(said: Any) -> None:
    assert said("events") == "Nothing has happened yet.\n"


def test_command_prints_one_line_that_a_shell_takes(
    said: Any, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    make_model("here", file_path="/my models/it's.gguf", port=8085)

    (line,) = said("command", "here").splitlines()

    argv = shlex.split(line)
    assert argv[argv.index("--model") + 1] == "/my models/it's.gguf"
    assert argv[argv.index("--port") + 1] == "8085"


def test_command_says_what_is_given_besides_and_shows_no_key(
    make_server: MakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server = make_server(
        wanted=Wanted.RUNNING, state=ServerState.READY, argv=["llama-server", "--old"]
    )

    call_command("servers", "command", "qwen3_4p0b_q4km_fast")

    printed = capsys.readouterr()
    assert "LLAMA_API_KEY (its key, not shown)" in printed.err
    assert "It runs with another command line now" in printed.err
    assert "It is run in " in printed.err  # the embedded engine is a module
    assert server_key(server.pk) not in printed.out + printed.err


def test_command_explains_where_each_value_comes_from(
    said: Any, make_model: MakeModel, make_profile: MakeProfile
) -> None:
    make_model("here", context_length=8192)
    make_active(make_profile("mine", "here", run_settings={"parallel": 3}))

    explained = said("command", "here", "--explain")
    for_machines = json.loads(said("command", "here", "--json"))

    (parallel,) = [line for line in explained.splitlines() if "--parallel" in line]
    assert parallel.split() == ["--parallel", "3", "profile", "mine"]
    assert for_machines["argv"][for_machines["argv"].index("--parallel") + 1] == "3"
    assert "PORT" in for_machines["argv"]
    assert {"flag", "value", "origin", "note"} <= set(for_machines["explained"][0])


@pytest.mark.parametrize("command", ["start", "stop", "restart", "logs", "events", "command"])
def test_an_unknown_id_names_what_there_is(make_model: MakeModel, command: str) -> None:
    make_model("qwen3_4p0b_q4km_fast")

    with pytest.raises(CommandError) as error:
        call_command("servers", command, "qwen3_4p0b")

    assert str(error.value) == (
        "Model not found: qwen3_4p0b. Available: qwen3_4p0b_q4km_fast. "
        "`manage.py models list` shows all."
    )


@pytest.mark.parametrize("arguments", [("start",), ("stop",), ("start", "a", "--all")])
def test_start_and_stop_take_an_id_or_all(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="Give the id of a model, or --all"):
        call_command("servers", *arguments)
