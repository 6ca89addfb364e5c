"""MAGI under mixed traffic for an hour, or as long as you like: what leaks, what is lost.

    python -m benchmarks.soak [--minutes 60] [--clients 6] [--seed N] [--json]

All of MAGI runs in a temporary folder, with real servers of SmolLM2 (on SQLite, or on the
PostgreSQL of DATABASE_URL, and its own Redis, or that of REDIS_URL). Clients ask without a
pause, by model, tier, `auto` and `two-stage`, streamed or not. Meanwhile profiles are switched,
files come and go with rescans, and parts are killed or paused. What each process takes is
looked at every two seconds.

It exits with 1 where something is wrong: an answer that looks whole and is not, a process that
grows, rows that pile up where none should, or servers that are not what is wanted at the end.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.lifecycle import smollm2_dir
from benchmarks.soak_figures import Sampler, rows_by_table, show
from tests.chaos.strikes import processes_of, strike
from tests.chaos.traffic import Traffic
from tests.e2e.magi import Magi, magi_in

FAST, BALANCED = "smollm2_135m_q41_fast", "soak_9p0b_q5km_balanced"
FILES = {"SmolLM2-135M-Instruct.Q4_1.gguf", "Soak-9B-Instruct-Q5_K_M.gguf"}
COMING = "Coming-1B-Instruct-Q4_K_M.gguf"
# Without its cache of prompts, which fills up for an hour and looks like a leak.
PROFILE = """
name: {name}
enabled_models:
  - {{model_id: {fast}, replicas: {replicas}}}
  - {balanced}
two_stage: {{enabled: true, stage1_tier: fast, stage2_tier: balanced}}
run_settings: {{ctx_size: {ctx_size}, parallel: 2, threads: 1, extra_args: [--cache-ram, "0"]}}
load_balancing: {{health_check_interval: 2}}
lifecycle: {{drain_seconds: 5}}
"""
# Both have all that is asked for; a switch starts and stops one, and restarts the others.
PROFILES = {
    name: PROFILE.format(
        name=name, fast=FAST, balanced=BALANCED, replicas=replicas, ctx_size=ctx_size
    )
    for name, replicas, ctx_size in (("day", 2, 2048), ("night", 1, 1024))
}
# Parts that end at once; the web server and Redis at a tenth of the times, since a process
# that has just begun shows no leak.
OFTEN, SELDOM = ("server", "keeper", "worker", "beat"), ("web", "redis")
SELDOM_SHARE = 0.1
SAMPLE_S, ACT_S = 2.0, 12.0
RECOVERY_S = 180.0
RIPPLE_S = 10.0  # for so long after it, what was done counts as a disturbance
SERVERS_OF_DAY = 3
BUDGET = 0.99  # of the requests that nothing disturbed are to be answered whole


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="magi-soak-") as folder:
        # For this process, which reads the settings to know where the sources are.
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "magi_site.settings",
            "MAGI_DATA_DIR": f"{folder}/benchmark",
        }
        with magi_in(Path(folder)) as magi:
            result = _soak(_prepared(magi), arguments)
    if arguments.json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    else:
        show(Console(), result)
    sys.exit(bool(result["wrong"]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="MAGI under mixed traffic, with kills.")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--no-kills", action="store_true", help="only traffic and changes")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _prepared(magi: Magi) -> Magi:
    """Give it models, profiles, and no limit to restarts: it is killed all the time."""
    models, profiles = magi.data_dir / "models", magi.data_dir / "profiles"
    models.mkdir()
    profiles.mkdir()
    source = next(smollm2_dir().glob("*.gguf"))
    for name in FILES:
        shutil.copyfile(source, models / name)
    for name, text in PROFILES.items():
        (profiles / f"{name}.yaml").write_text(text)
    magi.environment |= {
        "LLAMA_SERVER_PATH": "embedded",
        "MAGI_ENV_FILE": os.devnull,
        "MAGI_PROFILES_DIR": str(profiles),
        "MAGI_PROFILE": "day",
        "MODEL_SCAN_PATH": str(models),
        "MODEL_RESTART_LIMIT": "1000",
    }
    return magi


def _soak(magi: Magi, arguments: argparse.Namespace) -> dict[str, Any]:
    seed = arguments.seed or random.randrange(2**32)  # noqa: S311
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    others = ("auto", "fast", "balanced", "two-stage", BALANCED)
    traffic = Traffic(magi.base_url, FAST, seed, clients=arguments.clients, others=others)
    done: list[tuple[float, str]] = []
    magi.start()
    sampler = Sampler(magi)
    is_over = threading.Event()
    watching = threading.Thread(target=_sample, args=(sampler, is_over))
    traffic.start()
    watching.start()
    try:
        before = _act(magi, chance, arguments, done)
    finally:
        is_over.set()
        traffic.stop()
        watching.join()
    _call(magi, "/api/models/profiles/day/activate")
    is_as_wanted = _comes_true(lambda: _is_as_wanted(magi))
    rows = rows_by_table(magi)
    exit_status = magi.stop()
    outcomes = dict(traffic.outcomes)
    undisturbed = _undisturbed(traffic, done)
    wrong = [f"an answer that is none: {text}" for text in traffic.broken]
    wrong += sampler.leaks()
    if not is_as_wanted:
        wrong.append("the servers that run are not those that are wanted")
    if exit_status or magi.processes():
        wrong.append(f"it left processes behind, or ended with {exit_status}")
    if undisturbed["whole_share"] < BUDGET:
        wrong.append(f"less than {BUDGET:.0%} of the undisturbed requests were whole")
    return {
        "minutes": arguments.minutes,
        "seed": seed,
        "requests": sum(outcomes.values()),
        "outcomes": outcomes,
        "undisturbed": undisturbed,
        "budget": BUDGET,
        "acts": [f"{at:.0f} s: {what}" for at, what in done],
        "processes": sampler.figures(),
        "rows": {name: [before.get(name, 0), count] for name, count in rows.items()},
        "as_wanted": is_as_wanted,
        "wrong": wrong,
    }


def _act(
    magi: Magi,
    chance: random.Random,
    arguments: argparse.Namespace,
    done: list[tuple[float, str]],
) -> dict[str, int]:
    """Change and kill things until the time is over; return the rows after a tenth of it."""
    began = time.monotonic()
    total_s = arguments.minutes * 60
    rows: dict[str, int] = {}
    columns = (TextColumn("soaking"), BarColumn(), TextColumn("{task.fields[what]}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=total_s, what="warming up")
        while (passed_s := time.monotonic() - began) < total_s:
            if not rows and passed_s > total_s / 10:
                rows = rows_by_table(magi)
            time.sleep(min(ACT_S * chance.uniform(0.5, 1.5), total_s - passed_s))
            what = _act_once(magi, chance, may_kill=not arguments.no_kills)
            done.append((time.monotonic(), what))
            progress.update(bar, completed=time.monotonic() - began, what=what)
    return rows


def _act_once(magi: Magi, chance: random.Random, *, may_kill: bool) -> str:
    if may_kill and chance.random() < 0.6:
        return strike(magi, chance, SELDOM if chance.random() < SELDOM_SHARE else OFTEN)
    if chance.random() < 0.5:
        name = chance.choice(list(PROFILES))
        return f"profile {name}: {_call(magi, f'/api/models/profiles/{name}/activate')}"
    path = magi.data_dir / "models" / COMING
    if path.exists():
        path.unlink()
    else:
        shutil.copyfile(path.with_name(min(FILES)), path)
    return f"rescan: {_call(magi, '/api/models/rescan')}"


def _call(magi: Magi, path: str) -> str:
    """Ask the API for a change; a part that it needs may just be dead."""
    try:
        magi.call("POST", path, {})
    except OSError as error:  # urllib's HTTPError is one
        return str(error)
    return "done"


def _sample(sampler: Sampler, is_over: threading.Event) -> None:
    while not is_over.wait(SAMPLE_S):
        sampler.look()


def _undisturbed(traffic: Traffic, done: list[tuple[float, str]]) -> dict[str, Any]:
    """Return how those requests ended of whose time nothing was done, nor just before it."""
    quiet = [
        outcome
        for began, ended, outcome in traffic.history
        if not any(began - RIPPLE_S <= at <= ended for at, _ in done)
    ]
    whole = quiet.count("whole")
    return {
        "requests": len(quiet),
        "whole": whole,
        "whole_share": whole / len(quiet) if quiet else 1.0,
    }


def _is_as_wanted(magi: Magi) -> bool:
    try:
        answer = magi.get("/api/models/servers")
    except OSError:
        return False
    wanted = [server for server in answer["servers"] if server["state"] != "stopped"]
    pids = {process.pid for process in processes_of(magi, "server")}
    is_ready = all(server["is_ready"] for server in wanted) and len(wanted) == SERVERS_OF_DAY
    return is_ready and {server["pid"] for server in wanted} == pids


def _comes_true(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + RECOVERY_S
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


if __name__ == "__main__":
    main()
