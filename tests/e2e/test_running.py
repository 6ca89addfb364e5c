"""From nothing to a model that answers: the real engine, the real model, the real broker."""

import json
import shlex
import subprocess
import threading

import pytest
from openai import NotFoundError, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.e2e.magi import Magi

pytestmark = pytest.mark.e2e

MODEL_ID = "smollm2_135m_q41_fast"
SAY_HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Say hi."}]


@pytest.fixture(scope="module")
def client(magi: Magi) -> OpenAI:
    return OpenAI(base_url=f"{magi.base_url}/v1", api_key="none is needed")


def test_the_five_steps_are_told_on_the_terminal(magi: Magi) -> None:
    for number in range(1, 6):
        assert f"[{number}/5]" in magi.said
    assert "1/1 servers ready" in magi.said
    assert "MAGI STARTUP COMPLETE" in magi.said


def test_the_first_admin_password_is_shown_and_kept(magi: Magi) -> None:
    password = (magi.data_dir / "data" / "admin_password").read_text().strip()

    assert f"password {password} " in magi.said


def test_what_the_terminal_says_to_try_works(magi: Magi) -> None:
    # Rich breaks the line where the terminal ends.
    said = " ".join(magi.said.partition("Try ")[2].partition("Ctrl-C")[0].split())
    command = shlex.split(said.replace('{"model"', '{"max_tokens": 8, "model"'))

    answer = subprocess.run(command, capture_output=True, check=True)

    assert json.loads(answer.stdout)["model"] == MODEL_ID


def test_the_openai_client_lists_the_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["auto", "fast", MODEL_ID]


@pytest.mark.parametrize("model", ["auto", MODEL_ID])
def test_the_openai_client_chats(client: OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=SAY_HI, max_tokens=8)

    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 8


def test_the_openai_client_streams(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(model="auto", messages=SAY_HI, max_tokens=8, stream=True)
    )

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text
    assert len(chunks) > 2


def test_a_model_that_is_not_there_is_answered_with_those_that_are(client: OpenAI) -> None:
    with pytest.raises(NotFoundError, match=MODEL_ID):
        client.chat.completions.create(model="gpt-5", messages=SAY_HI)


def test_the_registry_has_the_model(magi: Magi) -> None:
    registry = magi.get("/api/models/registry")

    model = registry["models"][MODEL_ID]
    assert (model["enabled"], model["state"], model["tier"]) == (True, "ready", "fast")
    assert model["parameter_count"] == 134_515_008
    assert registry["tier_thresholds"] == {"powerful_min": 14.0, "fast_max": 7.0}


def test_the_servers_are_listed(magi: Magi) -> None:
    status = magi.get("/api/models/servers")

    assert (status["total_servers"], status["ready_servers"]) == (1, 1)
    assert status["servers"][0]["is_ready"]


def test_the_guides_profiles_and_the_demo_are_there(magi: Magi) -> None:
    assert magi.get("/api/models/profiles") == [
        "demo",
        "development",
        "fast-only",
        "production",
    ]


def test_a_rescan_is_done_by_the_worker(magi: Magi) -> None:
    report = magi.call("POST", "/api/models/rescan")

    assert report["message"] == "Re-scan completed successfully"
    assert report["models_found"] == 1
    assert report["unchanged"] == [MODEL_ID]


def test_a_rescan_that_nobody_waits_for_can_be_followed(magi: Magi) -> None:
    accepted = magi.call("POST", "/api/models/rescan?wait=0")

    magi.until(lambda: magi.get(accepted["status_url"])["state"] == "success")

    assert magi.get(accepted["status_url"])["result"]["models_found"] == 1


def test_the_rescan_command_queues(magi: Magi) -> None:
    done = magi.run_command("rescan", "--queue", "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["models_found"] == 1


def test_the_startup_command_tells_the_five_steps_beside_a_running_worker(magi: Magi) -> None:
    server_pid = magi.get("/api/models/servers")["servers"][0]["pid"]

    done = magi.run_command("startup")

    assert done.returncode == 0, done.stderr
    assert "[5/5]" in done.stdout
    assert "1/1 servers ready" in done.stdout
    assert magi.get("/api/models/servers")["servers"][0]["pid"] == server_pid


def test_a_second_run_over_the_same_folder_is_refused_in_one_sentence(magi: Magi) -> None:
    done = magi.run_command("run")

    assert done.returncode == 1
    assert "MAGI runs already" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_worker_that_is_killed_costs_no_stream_and_its_server_is_adopted(
    magi: Magi, client: OpenAI
) -> None:
    server_pid = magi.get("/api/models/servers")["servers"][0]["pid"]
    worker = magi.process_of("worker")
    stream = client.chat.completions.create(
        model="auto",
        messages=[{"role": "user", "content": "Count to one hundred."}],
        max_tokens=120,
        stream=True,
    )
    chunks = iter(stream)
    next(chunks)

    worker.kill()
    rest = list(chunks)

    assert rest[-1].choices[0].finish_reason in {"stop", "length"}
    magi.until(lambda: magi.run_command("rescan", "--queue").returncode == 0)  # a new worker
    assert magi.get("/api/models/servers")["servers"][0]["pid"] == server_pid


def test_a_client_that_leaves_frees_the_server(magi: Magi, client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="auto",
        messages=[{"role": "user", "content": "Tell me everything."}],
        max_tokens=4000,
        stream=True,
    )
    next(iter(stream))
    stream.close()
    answered = threading.Event()

    def ask() -> None:
        client.chat.completions.create(model="auto", messages=SAY_HI, max_tokens=2)
        answered.set()

    threading.Thread(target=ask, daemon=True).start()

    # With one slot, it waits for as long as the abandoned story is being written.
    assert answered.wait(15)
