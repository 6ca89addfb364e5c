"""One node in one terminal: start its processes in order, keep them, stop them all."""

import http.client
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError, connection
from redis import Redis, RedisError
from rich.console import Console
from rich.markup import escape

from magi_site.embedded_redis import redis_argv
from magi_site.processes import (
    Child,
    Children,
    beat_command,
    watch_command,
    web_command,
    worker_command,
)
from models_app.errors import NoWorkerError, QueueUnavailableError
from models_app.queue import require_worker
from servers_app import supervisor
from servers_app.bench import private
from servers_app.models import RUNNING, Server
from servers_app.services import request_stop_all
from servers_app.supervisor import sweeping

START_TIMEOUT_S = 60.0
POLL_S = 0.05


class Runner:
    """Redis (ours, unless REDIS_URL is set), worker, beat and web of this machine."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._run_dir = Path(settings.MAGI_RUN_DIR)
        self._children = Children(self._run_dir)

    def end_leftovers(self) -> None:
        """End the processes of a run that was killed, which still hold its ports."""
        if left := self._children.end_leftovers():
            self._console.print(f"Ended what an earlier run left: {', '.join(left)}")

    def start(self) -> None:
        """Start everything, and return when all of it answers.

        Raises:
            CommandError: a part ended, or did not answer; its last lines are in it.
        """
        with self._console.status("starting"):
            if settings.OWN_REDIS:
                redis = self._children.start("redis", redis_argv(self._run_dir))
                self._until(redis, _redis_answers)
            worker = self._children.start("worker", worker_command(settings.MAGI_NODE))
            self._children.start("beat", beat_command())
            if settings.MAGI_WATCH:
                self._children.start("watch", watch_command())
            web = self._children.start(
                "web",
                web_command(settings.MAGI_HOST, settings.MAGI_PORT),
                leaving_s=settings.MAGI_DRAIN_SECONDS + settings.MAGI_SHUTDOWN_SECONDS,
            )
            self._until(web, _web_answers)
            self._until(worker, _worker_answers)

    def keep_alive(self) -> None:
        """Start again what has ended, and say so; keep the logs from growing."""
        self._children.turn_logs_over()
        for child in self._children.restart_dead():
            self._console.print(
                f"[yellow]{child.name} had ended; started again.[/] Its log: {child.log_path}"
            )

    def stop(self) -> None:
        """Stop the llama-servers and every process of ours; return when all are gone."""
        connection.close()  # a database that was away meanwhile has cut it
        with self._console.status("stopping"):
            # First, so that the worker gives up a load it waits for, and can end.
            with suppress(QueueUnavailableError, DatabaseError):
                request_stop_all(settings.MAGI_NODE, who="run", why="MAGI was stopped")
            self._children.stop("web", "watch", "beat", "worker")
            try:
                names = _stop_servers()
            except (DatabaseError, OSError):
                # It is away, or full: they are told of by their folders, too.
                sweeping.end_all()
                names = ""
            self._children.stop("redis")
        self._console.print(f"[red]Still running:[/] {escape(names)}" if names else "Stopped.")

    def _until(self, child: Child, answers: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers():
            if not child.is_alive or time.monotonic() > deadline:
                what = "ended" if not child.is_alive else "does not answer"
                msg = f"{child.name} {what}. Its last lines ({child.log_path}):\n"
                raise CommandError(msg + child.last_lines())
            time.sleep(POLL_S)


def _stop_servers() -> str:
    """Stop here what the worker did not; it is gone by now, or was dead before.

    Returns:
        The names of those that run still.
    """
    private.end_left()  # of a measurement whose worker had to be killed
    server_ids = supervisor.unsettled(settings.MAGI_NODE)
    if server_ids:
        with ThreadPoolExecutor(len(server_ids)) as pool:
            list(pool.map(_settle, server_ids))
    left = Server.objects.filter(node=settings.MAGI_NODE, state__in=RUNNING)
    return ", ".join(str(server) for server in left.select_related("model"))


def _settle(server_id: int) -> None:
    try:
        supervisor.settle(server_id)
    finally:
        connection.close()


def _redis_answers() -> bool:
    try:
        with Redis.from_url(settings.REDIS_URL) as redis:
            return bool(redis.ping())
    except (RedisError, OSError):
        return False


def _worker_answers() -> bool:
    try:
        require_worker(settings.MAGI_NODE)
    except (NoWorkerError, QueueUnavailableError):
        return False
    return True


def _web_answers() -> bool:
    listens_everywhere = settings.MAGI_HOST in {"0.0.0.0", "::"}  # noqa: S104  # nosec B104
    host = "127.0.0.1" if listens_everywhere else settings.MAGI_HOST
    web = http.client.HTTPConnection(host, settings.MAGI_PORT, timeout=2)
    try:
        web.request("GET", "/health")
        return web.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        web.close()
