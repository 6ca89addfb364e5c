"""What a node's worker is, for the other machines: its version, its ports, its engines."""

import logging
import os
import threading
from dataclasses import replace
from typing import Any, Final

from django.conf import settings
from django.db import Error, connections
from django.utils.crypto import salted_hmac

from models_app.task_counts import task_counts
from profiles_app.engines import EMBEDDED
from servers_app.engine.binary import Engine, find_engine
from servers_app.engine.builds import capabilities
from servers_app.errors import EngineError
from servers_app.models import Node
from servers_app.processes import pid_namespace

log = logging.getLogger(__name__)

KEY_SALT: Final = "servers_app.node_facts"
KEY_CHARS: Final = 16
COUNTED_EACH: Final = 3  # beats


class FactsWriter:
    """Writes them down when they change, and has the engines asked what they can do."""

    def __init__(self) -> None:
        self._beats = 0
        self._asked: list[dict[str, Any]] = []
        self._asking: threading.Thread | None = None

    def write(self) -> None:
        """Write the facts of this node, if they are not those of its row.

        How many tasks were done is another with each beat; that alone is written each 15 s.

        Raises:
            django.db.Error: the database did not take them.
        """
        facts = facts_here()
        is_counted, self._beats = self._beats % COUNTED_EACH == 0, self._beats + 1
        node = Node.objects.only("facts").get(name=settings.MAGI_NODE)
        tasks = task_counts() if is_counted else node.facts.get("tasks", {})
        if node.facts != facts | {"tasks": tasks}:
            Node.objects.filter(pk=node.pk).update(facts=facts | {"tasks": tasks})
        engines = list(facts["engines"].values())
        is_asking = self._asking is not None and self._asking.is_alive()
        if engines != self._asked and not is_asking:
            self._asked = engines
            # Beside the heartbeat: an engine that hangs is waited for.
            self._asking = threading.Thread(target=_ask_all, name="ask-engines", daemon=True)
            self._asking.start()


def facts_here() -> dict[str, Any]:
    """Return what the worker of this node is, as `Node.facts` has it; it never fails.

    Its keys: `version`; `port_range`, both ends included; `cores`, that MAGI counts with;
    `memory_reserve_mib`; `engines` by their names, "" being the node's default, each with
    `command`, `path` (`embedded`, or the program) and `problem`; `run_dir`; `pid_namespace`;
    `key`, which tells whether two machines have the same MAGI_SECRET_KEY and nothing else of
    it. `tasks`, as models_app/task_counts.py has it, comes with each writing.
    """
    return {
        "version": settings.MAGI_VERSION,
        "port_range": [settings.MODEL_PORT_RANGE_START, settings.MODEL_PORT_RANGE_END],
        "cores": os.cpu_count() or 1,
        "memory_reserve_mib": settings.MAGI_MEMORY_RESERVE_MIB,
        "engines": {name: _engine(name) for name in _names()},
        "run_dir": str(settings.MAGI_RUN_DIR),
        "pid_namespace": pid_namespace(),
        "key": key_here(),
    }


def key_here() -> str:
    """Return what tells this machine's MAGI_SECRET_KEY from others."""
    return salted_hmac(KEY_SALT, "", algorithm="sha256").hexdigest()[:KEY_CHARS]


def _names() -> tuple[str, ...]:
    return ("", EMBEDDED, *settings.LLAMA_SERVER_BUILDS)


def _engine(name: str) -> dict[str, Any]:
    try:
        engine = find_engine(name)
    except EngineError as error:
        return {"command": [], "path": "", "problem": str(error)}
    path = EMBEDDED if engine.is_embedded else engine.command[0]
    return {"command": list(engine.command), "path": path, "problem": ""}


def _ask_all() -> None:
    """Ask each engine what it can do, so that the others can reckon with it."""
    asked: set[Engine] = set()
    try:
        for name in _names():
            try:
                engine = replace(find_engine(name), name="")
                if engine not in asked:
                    asked.add(engine)
                    capabilities(engine)
            except EngineError as error:
                log.warning("An engine of this node cannot be used: %s", error)
            except Error as error:
                log.warning("What an engine can do could not be written: %s", error)
    finally:
        connections.close_all()
