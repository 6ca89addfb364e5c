"""MAGI's web application with a worker that is never late, for a uvicorn of its own.

Rescans and the like are done at once, by the process that is asked. Servers become what is
wanted of them on their rows alone; those of broken models fail. For measurements there is no
llama-server.
"""

from typing import Never

import pytest

from magi_site.asgi import application
from magi_site.celery import app
from servers_app.errors import EngineError
from servers_app.logs import log_path
from servers_app.models import Server
from tests.servers_app.scripted_worker import Fields, ScriptedWorker, fails, is_as_wanted

__all__ = ["application"]

BROKEN = "broken"  # the family of models whose servers fail


def _settle(server: Server) -> Fields:
    log = log_path(server.pk)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("main: server is listening\n")  # whoever follows it is told at once
    return fails()(server) if server.model.family == BROKEN else is_as_wanted(server)


def _no_engine() -> Never:
    msg = "There is no llama-server."
    raise EngineError(msg)


app.conf.update(task_always_eager=True, task_store_eager_result=True)
ScriptedWorker(pytest.MonkeyPatch()).does = _settle
pytest.MonkeyPatch().setattr("servers_app.bench.running._engine", _no_engine)
