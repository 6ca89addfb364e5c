"""`manage.py recommend`, on this machine and on made-up ones."""

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from profiles_app.models import Profile
from servers_app.benchmark_models import Benchmark, BenchmarkState
from servers_app.hardware import Hardware
from tests.conftest import MakeModel
from tests.servers_app.recommend.conftest import NODE, MakeNode, OnNode
from tests.servers_app.recommend.machines import gpu, hardware

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_engine(settings: Settings) -> None:
    settings.LLAMA_SERVER_PATH = "/nowhere/llama-server"


def run(*arguments: str) -> str:
    out = StringIO()
    with redirect_stdout(out):
        call_command("recommend", *arguments)
    return out.getvalue()


def as_json(*arguments: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(run("--json", *arguments))
    return told


def described(tmp_path: Path, machine: Hardware) -> str:
    file = tmp_path / "machine.json"
    file.write_text(json.dumps(machine.as_json()))
    return str(file)


@pytest.mark.parametrize(
    ("total_gib", "cores", "model_class", "machine_class", "settings_of_it"),
    [
        (3, 2, "smallest", "low-end", (512, 2048, 1, 1)),
        (4, 4, "2B", "low-end", (512, 2048, 3, 1)),
        (8, 4, "4B", "low-end", (1024, 4096, 3, 1)),
        (16, 8, "4B", "mid-range", (1024, 4096, 6, 2)),
        (24, 4, "9B+", "mid-range", (2048, 8192, 3, 1)),
        (32, 8, "9B+", "high-end", (2048, 8192, 6, 2)),
        (64, 6, "9B+", "mid-range", (2048, 8192, 5, 1)),
    ],
)
def test_a_described_machine_gets_what_the_rules_say(
    tmp_path: Path,
    total_gib: float,
    cores: int,
    model_class: str,
    machine_class: str,
    settings_of_it: tuple[int, int, int, int],
) -> None:
    file = described(tmp_path, hardware(total_gib, cores=cores))

    floor = as_json("--hardware", file)["floor"]

    assert (floor["model_class"], floor["machine_class"]) == (model_class, machine_class)
    names = ("max_tokens", "context_length", "num_threads", "batch_size")
    assert tuple(floor[name] for name in names) == settings_of_it


def test_a_described_machine_is_held_against_the_models_of_this_one(
    tmp_path: Path, make_model: MakeModel
) -> None:
    make_model("small", size_bytes=2**30, context_length=4096)
    make_model("large", size_bytes=40 * 2**30, context_length=4096)
    file = described(tmp_path, hardware(8, gpus=(gpu(4),), bandwidth_gb_per_s=40))

    told = as_json("--hardware", file)

    assert [each["model_id"] for each in told["recommendations"]] == ["small"]
    assert told["recommendations"][0]["speed"]["source"] == "bandwidth"
    assert told["not_recommended"][0]["model_id"] == "large"


def test_what_was_measured_here_says_nothing_of_a_described_machine(
    tmp_path: Path, make_model: MakeModel, settings: Settings
) -> None:
    make_model("small", size_bytes=2**30, context_length=4096)
    Benchmark.objects.create(
        model_id="small",
        node=settings.MAGI_NODE,
        state=BenchmarkState.FINISHED,
        generation_tokens_per_s=99.0,
    )
    assert as_json()["recommendations"][0]["speed"]["source"] == "benchmark"
    file = described(tmp_path, hardware(8))

    assert as_json("--hardware", file)["recommendations"][0]["speed"]["source"] == "none"
    assert "The machine described has 7,168 of 8,192 MiB" in run("--hardware", file)


def test_a_node_is_told_in_words(make_node: MakeNode, on_node: OnNode) -> None:
    make_node(hardware(16, 12, bandwidth_gb_per_s=30))
    on_node("four", 4)
    on_node("big", 32)

    out = run("--node", NODE)

    assert "elsewhere has 11,264 of 16,384 MiB for models" in out
    assert "a mid-range machine, preset balanced; 12.0 GiB available: models of about 4B" in out
    assert "Preferred: " in out
    assert "bandwidth" in out
    assert "big: Too large" in out


def test_what_is_not_shown_is_counted(make_node: MakeNode, on_node: OnNode) -> None:
    make_node(hardware(64))
    for number in range(5):
        on_node(f"m{number}", 4)

    assert "3 more fit; --limit shows them." in run("--node", NODE, "--limit", "2")
    told = as_json("--node", NODE, "--limit", "2")
    assert (told["count"], len(told["recommendations"])) == (5, 2)


def test_a_profile_is_made_and_it_says_how_to_go_on(
    make_node: MakeNode, on_node: OnNode
) -> None:
    make_node(hardware(16))
    on_node("four", 4)

    out = run("--node", NODE, "--as-profile", "Made Here")

    assert Profile.objects.get().slug == "made-here"
    assert "✓ Profile made-here, for 6,558 of 15,360 MiB" in out
    assert "four: ctx_size 32768" in out
    assert "`manage.py profiles activate made-here --plan`" in out


def test_a_profile_is_told_as_json(make_node: MakeNode, on_node: OnNode) -> None:
    make_node(hardware(16))
    on_node("four", 4)

    told = as_json("--node", NODE, "--as-profile", "Made Here")

    assert told["name"] == "made-here"
    assert told["members"][0]["run_settings"]["ctx_size"] == 32768


def test_this_machine_is_recommended_for(make_model: MakeModel) -> None:
    make_model("small", size_bytes=2**20, context_length=4096)

    assert as_json("--task", "coding")["recommendations"][0]["model_id"] == "small"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--task", "chess"], "Available: general, coding, analysis"),
        (["--node", "nowhere"], "There is no node 'nowhere'"),
        (["--limit", "0"], "--limit: it is a number from 1 to 100"),
        (["--hardware", "/nowhere.json"], "No such file"),
        (["--hardware", "x", "--as-profile", "y"], "take off --node and --as-profile"),
        (["--as-profile", "///"], "name"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_to_do(
    make_model: MakeModel, arguments: list[str], sentence: str
) -> None:
    make_model("small", size_bytes=2**20, context_length=4096)

    with pytest.raises(CommandError, match=sentence):
        run(*arguments)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{", id="no JSON"),
        pytest.param("[" * 100_000, id="nested too deep"),
        pytest.param("[]", id="no object"),
        pytest.param("{}", id="nothing said"),
        pytest.param('{"total_bytes": "much"}', id="no number"),
        pytest.param('{"total_bytes": 1.5}', id="half a byte"),
        pytest.param('{"total_bytes": 9, "physical_cores": 0}', id="no core"),
        pytest.param(f'{{"total_bytes": {10**400}}}', id="more than there is"),
        pytest.param('{"total_bytes": 9, "gpus": 3}', id="no list"),
        pytest.param(
            '{"total_bytes": 9, "gpus": [{"name": 5, "total_bytes": 9}]}', id="no name"
        ),
        pytest.param(
            '{"total_bytes": 9, "gpus": [{"name": "\\ud800", "total_bytes": 9}]}', id="half one"
        ),
        pytest.param(
            '{"total_bytes": 9, "gpus": [{"name": "x", "total_bytes": 1e300}]}', id="huge GPU"
        ),
        pytest.param('{"total_bytes": 9, "gpus": [{"name": "x"}]}', id="half a GPU"),
        pytest.param(
            '{"total_bytes": 9, "gpus": [{"name": "x", "total_bytes": "y"}]}', id="odd GPU"
        ),
        pytest.param(
            '{"total_bytes": 9, "memory_bandwidth_bytes_per_s": -1}', id="odd bandwidth"
        ),
    ],
)
def test_a_file_that_describes_no_machine_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "machine.json"
    file.write_text(text)

    with pytest.raises(CommandError, match="describes no machine") as error:
        run("--hardware", str(file))

    assert ("total_bytes is missing" in str(error.value)) == (text == "{}")
