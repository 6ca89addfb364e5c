"""Start on B from A's admin, balance over B and C, cut C off, heal: see test_hosts.py."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.traffic import Traffic
from tests.cluster.alone import as_process_1
from tests.cluster.deployment import Deployment
from tests.cluster.hosts import unplugged, until

MODEL_ID = "smollm2_135m_q41_fast"
PROFILE = f"""
name: {{name}}
enabled_models:
  - {{{{model_id: {MODEL_ID}, replicas: 2}}}}
run_settings: {{{{ctx_size: 2048, parallel: 4, threads: 1}}}}
load_balancing: {{{{health_check_interval: 2}}}}
placement: {{{{rule: spread, failover: {{failover}}, failover_after_seconds: 20}}}}
"""
CUT_S = 30.0  # long enough for everybody to take it for lost
SOME_REQUESTS = 10


def play(folder: Path, model: Path) -> None:
    magi = Deployment(folder, model)
    for name, failover in (("Stay", "false"), ("Move", "true")):
        text = PROFILE.format(name=name, failover=failover)
        (folder / "profiles" / f"{name.lower()}.yaml").write_text(text)
    magi.start()
    until(lambda: _nodes_with_the_model(magi) == ["b", "c"], "both nodes have the model")

    _start_on_b_from_the_admin(magi)
    assert len(magi.hosts["b"].engines()) == 1
    assert not magi.hosts["c"].engines()

    magi.post("/api/models/profiles/stay/activate")
    until(lambda: _ready(magi) == {"b": 1, "c": 1}, "a server on each")
    _cut_off_and_heal(magi)

    magi.post("/api/models/profiles/move/activate")
    _cut_off_until_it_moves(magi)


def _start_on_b_from_the_admin(magi: Deployment) -> None:
    [(number,)] = magi.query("SELECT id FROM models_app_discoveredmodel")
    page = f"/admin/models_app/discoveredmodel/{number}"
    magi.sign_in()
    magi.submit(f"{page}/change/", to=f"{page}/start/", node="b")
    until(lambda: _ready(magi) == {"b": 1}, "B has it ready")


def _cut_off_and_heal(magi: Deployment) -> None:
    """No request fails that had not begun on C; afterwards all is as before."""
    before = {name: magi.hosts[name].engines() for name in ("b", "c")}
    with _traffic(magi) as traffic:
        until(lambda: min(_answered_by_node(magi, "b", "c")) > SOME_REQUESTS, "both answer")
        with unplugged(magi.hosts["c"]):
            cut_at = time.monotonic()
            time.sleep(CUT_S)
            lost = _since(traffic, cut_at)
            assert set(lost) == {"whole"}, lost
            assert lost["whole"] > SOME_REQUESTS
        healed_at = time.monotonic()
        until(lambda: _ready(magi) == {"b": 1, "c": 1}, "C is back")
        answered = _answered_by_node(magi, "c")[0]
        until(lambda: _answered_by_node(magi, "c")[0] > answered + SOME_REQUESTS, "C answers")
    after = _since(traffic, healed_at)
    assert set(after) == {"whole"}, after
    assert traffic.broken == []
    assert {name: magi.hosts[name].engines() for name in ("b", "c")} == before


def _cut_off_until_it_moves(magi: Deployment) -> None:
    """Its server is started elsewhere, and there is no second one when it comes back."""
    with _traffic(magi) as traffic:
        with unplugged(magi.hosts["c"]):
            cut_at = time.monotonic()
            until(lambda: len(magi.hosts["b"].engines()) == 2, "B has the server of C")
            until(lambda: _ready(magi).get("b") == 2, "it is ready")
            assert len(magi.hosts["c"].engines()) == 1  # nobody could tell it
        until(lambda: not magi.hosts["c"].engines(), "C has stopped its own")
        time.sleep(1)
    assert set(_since(traffic, cut_at)) == {"whole"}, _since(traffic, cut_at)
    assert _ready(magi) == {"b": 2}


@contextmanager
def _traffic(magi: Deployment) -> Iterator[Traffic]:
    traffic = Traffic(magi.base_url, MODEL_ID, seed=1, clients=6)
    traffic.start()
    try:
        yield traffic
    finally:
        traffic.stop()


def _since(traffic: Traffic, at: float) -> Counter[str]:
    """Return what came of the requests that began after `at` and are over."""
    return Counter(outcome for began, _, outcome in [*traffic.history] if began >= at)


def _nodes_with_the_model(magi: Deployment) -> list[str]:
    models = magi.get("/api/models/registry")["models"]
    return sorted(models[MODEL_ID]["nodes"]) if MODEL_ID in models else []


def _ready(magi: Deployment) -> dict[str, int]:
    """Return how many servers of each node are ready, and can be reached."""
    return dict(
        Counter(
            server["node"]
            for servers in magi.servers().values()
            for server in servers
            if server["is_ready"] and not server["unreachable_since"]
        )
    )


def _answered_by_node(magi: Deployment, *nodes: str) -> list[int]:
    answered = dict(
        magi.query("SELECT node, count(*) FROM servers_app_requestrecord GROUP BY node")
    )
    return [answered.get(node, 0) for node in nodes]


if __name__ == "__main__":
    as_process_1(play)
