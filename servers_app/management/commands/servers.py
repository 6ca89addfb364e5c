"""`manage.py servers …`: llama-servers on the terminal; what is asked, a worker does."""

import json
import os
import shlex
import sys
import time
from argparse import ArgumentParser
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from threading import Event
from typing import Any, TypeVar

from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet
from rich.console import Console
from rich.live import Live

from models_app.acting import who_asks
from models_app.errors import ModelsError, NoWorkerError, QueueUnavailableError
from models_app.models import DiscoveredModel
from models_app.queue import require_worker
from models_app.terminal import INTERRUPTED, make_console
from profiles_app.errors import ProfilesError
from profiles_app.services import active_profile
from servers_app import following, logs, services
from servers_app.command_line import command_line
from servers_app.errors import ServersError
from servers_app.figures import name_of
from servers_app.following import WHEN_BACK, Outcome
from servers_app.lookup import (
    find_model,
    find_server,
    is_here,
    never_started,
    require_node,
    unknown,
)
from servers_app.models import RUNNING, Server, ServerEvent, ServerState
from servers_app.planning import node_of
from servers_app.serializers import EventSerializer, ServerSerializer
from servers_app.terminal import arguments_table, bars, events_table, servers_table

WATCH_S = 1.0
WORKER_CHECK_S = 15.0  # while something is waited for: is there anybody who does it?
MAX_SHOWN = 1_000_000  # lines of a log, or events

BESIDES = (
    "MAGI gives it besides LLAMA_API_KEY (its key, not shown) and XDG_CONFIG_HOME (an empty "
    "folder), and no other LLAMA_… variable."
)

T = TypeVar("T")


class Command(BaseCommand):
    help = "List, start, stop and restart servers; show logs, events and command lines."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        listing = commands.add_parser("list", help="Show all servers.")
        listing.add_argument("--node", help="Only this one's.")
        listing.add_argument("--state", choices=ServerState.values)
        listing.add_argument("--watch", action="store_true", help="Until Ctrl-C.")
        start = commands.add_parser("start", help="Start one, or all of the active profile.")
        stop = commands.add_parser("stop", help="Stop one, or all.")
        restart = commands.add_parser("restart", help="Start one anew.")
        move = commands.add_parser("move", help="Stop one, and start it on another node.")
        move.add_argument("model_id", metavar="ID")
        move.add_argument("--to", default="", metavar="NODE", help="Else the best there is.")
        for command in (start, stop):
            command.add_argument("model_id", nargs="?", metavar="ID")
            command.add_argument("--all", action="store_true")
        restart.add_argument("model_id", metavar="ID")
        stop.add_argument("--at-once", action="store_true", help="Cut requests in flight.")
        for command in (start, stop, restart, move):
            command.add_argument("--no-wait", action="store_true", help="Only ask for it.")
        logs_ = commands.add_parser("logs", help="Print the end of its log.")
        logs_.add_argument("model_id", metavar="ID")
        logs_.add_argument("-n", type=int, default=200, metavar="LINES", dest="count")
        logs_.add_argument("-f", "--follow", action="store_true", help="Until Ctrl-C.")
        events = commands.add_parser("events", help="Show what happened, the newest first.")
        events.add_argument("model_id", nargs="?", metavar="ID")
        events.add_argument("-n", type=int, default=50, metavar="EVENTS", dest="count")
        argv = commands.add_parser("command", help="Print the command line it is run with.")
        argv.add_argument("model_id", metavar="ID")
        argv.add_argument("--explain", action="store_true", help="Where each value is from.")
        for command in (start, stop, restart, move, logs_, argv):
            command.add_argument("--replica", type=int, default=0, metavar="N", help="From 0.")
            command.add_argument(
                "--node", default="", metavar="NODE", help="Where, if there are several."
            )
        for name, command in commands.choices.items():
            if name != "logs":
                command.add_argument("--json", action="store_true", help="For machines.")

    def handle(self, *args: Any, **options: Any) -> None:
        self.console = make_console()
        self.as_json: bool = options.get("json", False)
        run: Callable[[dict[str, Any]], None] = getattr(self, f"_{options['command']}")
        try:
            run(options)
        except (ServersError, ProfilesError, ModelsError) as error:
            raise CommandError(str(error)) from error

    # -- showing

    def _list(self, options: dict[str, Any]) -> None:
        servers = Server.objects.select_related("model").defer("model__metadata")
        for name in ("node", "state"):
            if options[name]:
                servers = servers.filter(**{name: options[name]})
        if options["watch"]:
            self._watch(servers)
        elif self.as_json:
            self._print(list(ServerSerializer(servers, many=True).data))
        elif servers:
            self.console.print(servers_table(servers))
        else:
            self.console.print(
                "There is no such server. `manage.py servers start ID` starts one; "
                "`manage.py models list` shows the ids.",
                soft_wrap=True,
            )

    def _watch(self, servers: QuerySet[Server]) -> None:
        if self.as_json:
            msg = "--watch shows a table; leave --json away, or ask again and again."
            raise CommandError(msg)
        try:
            with Live(console=self.console, auto_refresh=False) as live:
                while True:
                    live.update(servers_table(servers.all()), refresh=True)
                    time.sleep(WATCH_S)
        except KeyboardInterrupt:
            return

    def _logs(self, options: dict[str, Any]) -> None:
        server = self._server(options)
        count = _how_many(options["count"])
        if not is_here(server):
            msg = (
                f"The log is on node {server.node}: run this there, or see "
                f"/api/models/servers/{server.model.model_id}/logs."
            )
            raise CommandError(msg)
        try:
            if options["follow"]:
                for line in logs.follow(server.pk, count, stop=Event()):
                    self.stdout.write(line)
                    self.stdout.flush()
            elif text := logs.tail(server.pk, count):
                self.stdout.write(text)
        except KeyboardInterrupt:
            return
        except BrokenPipeError:  # `| head` has seen enough: nothing is left to be flushed
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _events(self, options: dict[str, Any]) -> None:
        events = ServerEvent.objects.select_related("server__model")
        if options["model_id"]:
            events = events.filter(server__model=_model(options["model_id"]))
        events = events[: _how_many(options["count"])]
        if self.as_json:
            self._print(
                [
                    {"model_id": event.server.model.model_id, **EventSerializer(event).data}
                    for event in events
                ]
            )
        elif events:
            self.console.print(events_table(events))
        else:
            self.console.print("Nothing has happened yet.")

    def _command(self, options: dict[str, Any]) -> None:
        model, profile = _model(options["model_id"]), active_profile()
        server = find_server(model, options["replica"], _node(options))
        port = (server.port if server else None) or model.port
        node = options["node"] or (server.node if server else node_of(model))
        arguments, engine, of_node = line = command_line(model, node, profile, port)
        argv = line.argv
        if self.as_json:
            listed = [argument._asdict() for argument in arguments]
            self._print(
                {"argv": argv, "cwd": engine.cwd and str(engine.cwd), "explained": listed}
            )
            return
        if options["explain"]:
            self.console.print(arguments_table(arguments))
        else:
            self.stdout.write(shlex.join(argv))
        notes = [f"It is run in {engine.cwd}."] if engine.cwd and not of_node else []
        if of_node:
            notes.append(of_node)
        if port is None:
            notes.append("It has no port yet: PORT stands for one of the range.")
        if server and server.state in RUNNING and server.argv and server.argv != argv:
            notes.append(
                "It runs with another command line now; `servers restart` has it take this."
            )
        for note in [*notes, BESIDES]:
            # Not on stdout: what is there is copied, or piped into a shell.
            Console(stderr=True, highlight=False).print(note, style="dim", soft_wrap=True)

    # -- asking

    def _start(self, options: dict[str, Any]) -> None:
        refused: list[str] = []
        running = _those(lambda server: following.start_outcome(server) == Outcome.DONE)
        if _is_for_all(options):
            if options["node"]:
                msg = "--node goes with an ID; of a profile, its placement says where."
                raise CommandError(msg)
            activation = _asked(partial(services.request_start_all, who=who_asks()))
            servers = activation.started
            refused += (f"No model here has the id {id_}." for id_ in activation.missing)
            refused += (why for _, why in activation.refused)
        else:
            model, replica = _model(options["model_id"]), options["replica"]
            why = "manage.py servers start"
            ask = partial(services.request_start, model, who=who_asks(), why=why)
            servers = [_asked(partial(ask, replica=replica, node=_node(options)))]
        self._finish(
            servers,
            options,
            following.start_outcome,
            lambda server: following.start_answer(server, ran_already=server.pk in running),
            refused,
        )

    def _restart(self, options: dict[str, Any]) -> None:
        model, replica = _model(options["model_id"]), options["replica"]
        node = _node(options)
        server = find_server(model, replica, node)
        asker = {"who": who_asks(), "why": "manage.py servers restart"}
        if server is None:
            asked = {"replica": replica, "node": node, **asker}
            server = _asked(partial(services.request_start, model, **asked))
        else:
            _asked(partial(services.request_restart, server, **asker))
        answer_of = partial(following.start_answer, ran_already=False)
        self._finish([server], options, following.start_outcome, answer_of)

    def _move(self, options: dict[str, Any]) -> None:
        server = self._server(options)
        server.model = _model(options["model_id"])
        to = require_node(options["to"]) if options["to"] else ""
        asker = {"who": who_asks(), "why": "manage.py servers move"}
        moved = _asked(partial(services.request_move, server, to=to, **asker))
        answer_of = partial(following.start_answer, ran_already=False)
        self._finish([moved], options, following.start_outcome, answer_of)

    def _stop(self, options: dict[str, Any]) -> None:
        running = _those(lambda server: server.state in RUNNING)
        asker = {
            "who": who_asks(),
            "why": "manage.py servers stop",
            "at_once": options["at_once"],
        }
        if _is_for_all(options):
            servers = _asked(partial(services.request_stop_all, _node(options), **asker))
        else:
            servers = [self._server(options)]
            _asked(partial(services.request_stop, servers[0], **asker))
        self._finish(
            servers,
            options,
            following.stop_outcome,
            lambda server: following.stop_answer(server, was_running=server.pk in running),
        )

    def _finish(
        self,
        servers: Sequence[Server],
        options: dict[str, Any],
        outcome_of: Callable[[Server], Outcome],
        answer_of: Callable[[Server], dict[str, Any]],
        refused: Sequence[str] = (),
    ) -> None:
        """Wait for the servers unless that is not wanted; tell what became of each.

        Raises:
            CommandError: not all is as it was asked for; the message has every reason.
        """
        looks = self._looks(servers, outcome_of)
        servers = next(looks) if options["no_wait"] else deque(looks, maxlen=1).pop()
        answers, errors = [], list(refused)
        for server in servers:
            match outcome_of(server):
                case Outcome.DONE:
                    answers.append(answer_of(server))
                case Outcome.FAILED:
                    errors.append(following.failure_text(server))
                case Outcome.OVERRULED:
                    errors.append(following.overruled_text(server))
                case _:
                    message = f"Asked for {name_of(server)} to be {server.wanted}."
                    answers.append({"message": message, "status": "asked"})
        if self.as_json:
            is_one = not options.get("all")
            self._print(
                answers[0] if is_one and answers else {"servers": answers, "failed": errors}
            )
        for answer in answers if not self.as_json else ():
            self.console.print(answer["message"], markup=False, soft_wrap=True)
        if errors:
            raise CommandError("\n".join(errors))
        if not servers and not self.as_json:
            self.console.print("There was nothing to do.")

    def _looks(
        self, servers: Sequence[Server], outcome_of: Callable[[Server], Outcome]
    ) -> Iterator[list[Server]]:
        """Yield the servers as they become what is asked for, with a bar for each."""
        check_at = time.monotonic()
        try:
            with bars(Console(stderr=True), servers) as shown:
                for look in following.watch([server.pk for server in servers], outcome_of):
                    yield look
                    shown.show(look)
                    if time.monotonic() >= check_at:
                        _require_workers(look, outcome_of)
                        check_at = time.monotonic() + WORKER_CHECK_S
        except (NoWorkerError, QueueUnavailableError) as error:
            msg = f"{error} {WHEN_BACK}"
            raise CommandError(msg) from error
        except KeyboardInterrupt as error:
            msg = "Not waiting any more; it goes on. `manage.py servers list` shows it."
            raise CommandError(msg, returncode=INTERRUPTED) from error

    def _server(self, options: dict[str, Any]) -> Server:
        model = _model(options["model_id"])
        node = _node(options)
        server = find_server(model, options["replica"], node)
        if server is None:
            msg = (
                f"{never_started(model, options['replica'], node)} "
                f"`manage.py servers start {model.model_id}` starts it."
            )
            raise CommandError(msg)
        return server

    def _print(self, value: object) -> None:
        self.stdout.write(json.dumps(value, indent=2))


def _model(model_id: str) -> DiscoveredModel:
    model = find_model(model_id)
    if model is None:
        msg = f"{unknown(model_id)} `manage.py models list` shows all."
        raise CommandError(msg)
    return model


def _node(options: dict[str, Any]) -> str:
    return require_node(options["node"]) if options["node"] else ""


def _those(holds: Callable[[Server], bool]) -> set[int]:
    return {server.pk for server in Server.objects.all() if holds(server)}


def _require_workers(
    servers: Sequence[Server], outcome_of: Callable[[Server], Outcome]
) -> None:
    """Make sure that somebody does what is waited for.

    Raises:
        NoWorkerError, QueueUnavailableError
    """
    for node in {s.node for s in servers if outcome_of(s) == Outcome.PENDING}:
        require_worker(node)


def _is_for_all(options: dict[str, Any]) -> bool:
    if bool(options["model_id"]) == options["all"]:
        msg = "Give the id of a model, or --all. `manage.py models list` shows the ids."
        raise CommandError(msg)
    return bool(options["all"])


def _asked(ask: Callable[[], T]) -> T:
    """Ask; what is wanted is committed even where the queue does not take it."""
    try:
        return ask()
    except QueueUnavailableError as error:
        msg = f"{error} {WHEN_BACK}"
        raise CommandError(msg) from error


def _how_many(count: int) -> int:
    if not 1 <= count <= MAX_SHOWN:
        msg = f"-n {count}: it is a number from 1 to {MAX_SHOWN}."
        raise CommandError(msg)
    return count
