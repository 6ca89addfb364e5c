"""Servers on the terminal: tables, and bars that move while something is waited for."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from servers_app.engine.argv import Argument
from servers_app.figures import at, loaded_percent, memory, name_of, span, uptime, what_happened
from servers_app.models import Server, ServerEvent, ServerState, Wanted

COLOURS = {
    ServerState.READY: "green",
    ServerState.STARTING: "yellow",
    ServerState.STOPPING: "yellow",
    ServerState.UNHEALTHY: "red",
    ServerState.FAILED: "red",
}


def servers_table(servers: Iterable[Server]) -> Table:
    """Return a table; MiB are those counted at the launch, and the most that were seen."""
    table = Table(
        Column("Model", no_wrap=True),  # it is what is copied
        Column("State", no_wrap=True),
        Column("Wanted", no_wrap=True),
        Column("Port", justify="right"),
        Column("PID", justify="right"),
        Column("Node", no_wrap=True),
        Column("Up for", justify="right", no_wrap=True),
        Column("MiB", justify="right", no_wrap=True),
        Column("Restarts", justify="right"),
        Column("Note or last error", overflow="fold", min_width=24),
        box=None,
    )
    for server in servers:
        table.add_row(
            escape(name_of(server)),
            _state(server),
            "on request" if _waits_for_request(server) else server.wanted,
            str(server.port or "-"),
            str(server.pid or "-"),
            escape(server.node),
            uptime(server),
            memory(server),
            str(server.restarts),
            escape(server.note or _first_line(server.last_error)),
        )
    return table


def events_table(events: Iterable[ServerEvent]) -> Table:
    table = Table(
        Column("When", no_wrap=True),
        Column("Model", no_wrap=True),
        "Who",
        "What",
        Column("After", justify="right"),
        "Why",
        box=None,
    )
    for event in events:
        table.add_row(
            at(event),
            escape(name_of(event.server)),
            escape(event.who or "-"),
            what_happened(event),
            "-" if event.seconds is None else span(event.seconds),
            escape(event.why),
        )
    return table


def arguments_table(arguments: Iterable[Argument]) -> Table:
    table = Table("Argument", "", "From", "Note", box=None)
    for argument in arguments:
        table.add_row(
            escape(argument.flag),
            escape(argument.value or ""),
            escape(argument.origin),
            f"[dim]{escape(argument.note)}[/]",
        )
    return table


@contextmanager
def bars(console: Console, servers: Sequence[Server]) -> Iterator["Bars"]:
    """Show a bar for each of `servers`, gone at the end; nothing where no terminal is."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[state]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False, style="dim"),
    )
    is_hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=is_hidden) as progress:
        yield Bars(progress, servers)


class Bars:
    def __init__(self, progress: Progress, servers: Sequence[Server]) -> None:
        self._progress = progress
        self._tasks = {
            server.pk: progress.add_task(name_of(server), total=None, state="", note="")
            for server in servers
        }

    def show(self, servers: Iterable[Server]) -> None:
        for server in servers:
            percent = loaded_percent(server)
            self._progress.update(
                self._tasks[server.pk],
                # Without a total the bar moves to and fro: nobody knows how much is done.
                total=None if percent is None else 100,
                completed=percent or 0,
                state=server.state,
                note=server.note,
            )


def _state(server: Server) -> str:
    percent = loaded_percent(server)
    text = server.state if percent is None else f"{server.state} {percent} %"
    if server.unreachable_since is not None:
        return f"[red]unreachable, was {server.state}[/]"
    return f"[{COLOURS.get(ServerState(server.state), 'dim')}]{text}[/]"


def _waits_for_request(server: Server) -> bool:
    return server.on_request and server.wanted == Wanted.STOPPED


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
