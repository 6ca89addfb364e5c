"""What `manage.py run` does when it begins and when it ends."""

import os
import pty
import re
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.e2e.magi import Magi

pytestmark = pytest.mark.e2e


COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """What a program wrote to the terminal whose other end it has."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)
        self._text = ""

    def read(self) -> str:
        with suppress(BlockingIOError):
            self._text += os.read(self._descriptor, 1 << 16).decode(errors="replace")
        return COLOURS.sub("", self._text)


def test_after_ctrl_c_no_process_is_left_and_it_starts_again(stopped_magi: Magi) -> None:
    magi = stopped_magi
    magi.start("--demo")
    assert len(magi.processes()) >= 5

    assert magi.stop() == 0

    assert magi.processes() == []
    magi.start()
    assert "Loading profile: demo" in magi.said
    assert "1/1 servers ready" in magi.said
    assert "password" not in magi.said
    assert magi.stop() == 0
    assert magi.processes() == []


def test_a_run_that_is_killed_is_cleaned_up_after_and_its_server_adopted(
    stopped_magi: Magi,
) -> None:
    magi = stopped_magi
    magi.start("--demo")
    server_pid = magi.get("/api/models/servers")["servers"][0]["pid"]
    assert magi.process is not None

    os.kill(magi.process.pid, signal.SIGKILL)
    magi.process.wait()
    magi.start()

    assert "Ended what an earlier run left" in magi.said
    assert magi.get("/api/models/servers")["servers"][0]["pid"] == server_pid
    assert magi.stop() == 0
    assert magi.processes() == []


def test_a_machine_without_models_is_told_what_to_do_and_nothing_is_enabled(
    stopped_magi: Magi,
) -> None:
    magi = stopped_magi

    magi.start()

    assert "make demo" in magi.said
    assert "Model not found: qwen3_4p0b_q4km_fast" in magi.said
    assert magi.get("/api/models/servers")["total_servers"] == 0
    assert magi.get("/v1/models")["data"][0]["id"] == "auto"


@pytest.mark.parametrize(("answer", "ready"), [("y", True), ("n", False)])
def test_at_a_terminal_it_asks_whether_to_install_a_model(
    stopped_magi: Magi, answer: str, ready: bool
) -> None:
    magi = stopped_magi
    ours, its = pty.openpty()
    process = psutil.Popen(
        [sys.executable, "manage.py", "run"],
        cwd=Path(__file__).parents[2],
        env=magi.environment,
        stdin=its,
        stdout=its,
        stderr=its,
    )
    said = Terminal(ours)
    try:
        magi.until(lambda: "Install SmolLM2-135M (98 MB) to try MAGI? [y/N]" in said.read())

        os.write(ours, f"{answer}\n".encode())

        magi.until(lambda: "Ctrl-C stops MAGI" in said.read())
        assert ("1/1 servers ready" in said.read()) is ready
        assert ("make demo" in said.read()) is not ready
    finally:
        process.send_signal(signal.SIGINT)
        magi.until(lambda: bool(said.read()) and process.poll() is not None)
        os.close(its)
        os.close(ours)
    assert process.wait(60) == 0


def test_a_profile_that_names_models_that_are_not_here_starts_the_rest(
    stopped_magi: Magi, smollm2: Path
) -> None:
    magi = stopped_magi
    profiles = magi.data_dir / "profiles"
    profiles.mkdir()
    (profiles / "mine.yaml").write_text(
        "name: Mine\nenabled_models: [not_here_at_all, smollm2_135m_q41_fast]\n"
    )
    magi.environment |= {
        "MAGI_PROFILES_DIR": str(profiles),
        "MAGI_PROFILE": "mine",
        "MODEL_SCAN_PATH": str(smollm2.parent),
    }

    magi.start()

    assert "Model not found: not_here_at_all" in magi.said
    assert "1/1 servers ready" in magi.said


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        pytest.param(
            "MAGI_PROFILE",
            "nope",
            "Profile 'nope' not found. Available: development, fast-only, production",
            id="missing profile",
        ),
        pytest.param("MAGI_PORT", "seventy", "MAGI_PORT='seventy'", id="bad value"),
        pytest.param(
            "MAGI_DATA_DIR", "/proc/magi", "/proc/magi cannot be", id="no data folder"
        ),
        pytest.param(
            "LLAMA_SERVER_PATH", "/no/such", "LLAMA_SERVER_PATH=/no/such", id="engine"
        ),
        pytest.param("DATABASE_URL", "mysql://u:hunter2@h/d", "DATABASE_URL", id="database"),
        pytest.param(
            "DATABASE_URL",
            "postgres://u:hunter2@127.0.0.1:1/d",
            "DATABASE_URL",
            id="no database",
        ),
        pytest.param("REDIS_URL", "redis://:hunter2@127.0.0.1:1/0", "REDIS_URL", id="no Redis"),
        pytest.param("MODEL_PORT_RANGE_END", "1", "MODEL_PORT_RANGE_START", id="no port"),
    ],
)
def test_what_cannot_work_is_one_clear_sentence_and_nothing_is_started(
    stopped_magi: Magi, variable: str, value: str, sentence: str
) -> None:
    stopped_magi.environment[variable] = value

    done = stopped_magi.run_command("run")

    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr
    assert stopped_magi.processes() == []


def test_a_port_that_is_taken_is_named(stopped_magi: Magi) -> None:
    port = int(stopped_magi.environment["MAGI_PORT"])
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", port))
        thief.listen()

        done = stopped_magi.run_command("run")

    assert done.returncode != 0
    assert f"Cannot listen on 127.0.0.1 port {port}: Address already in use" in done.stderr
    assert stopped_magi.processes() == []


def test_a_stop_while_it_starts_leaves_nothing(stopped_magi: Magi) -> None:
    magi = stopped_magi
    process = psutil.Popen(
        [sys.executable, "manage.py", "run", "--demo"],
        cwd=Path(__file__).parents[2],
        env=magi.environment,
    )
    magi.until(lambda: any("worker" in p.cmdline() for p in magi.processes()))

    process.send_signal(signal.SIGTERM)

    assert process.wait(60) == 0
    assert magi.processes() == []
