"""The startup sequence of the guide, told on the terminal: five steps and a summary."""

import time

from django.conf import settings
from rich.console import Console
from rich.markup import escape

from models_app.models import DiscoveredModel
from profiles_app.models import Profile
from servers_app.models import Server, ServerState, Wanted
from servers_app.services import Activation, activate_profile
from servers_app.supervisor.loading import max_startup_s

RULE = "=" * 70
POLL_S = 0.1
PATIENCE_MARGIN_S = 15  # past the time that the models may take: for the queue and the launch


def announce(console: Console) -> None:
    console.print(RULE)
    console.print("MAGI STARTUP SEQUENCE", style="bold")
    console.print(RULE)


def start_profile(console: Console, profile: Profile) -> bool:
    """Run steps 2 to 5 for `profile`: load, filter, launch, health check; then sum up.

    Returns:
        Whether every server that was asked for is ready.
    """
    console.print(f"[cyan]\\[2/5][/] Loading profile: [bold]{escape(profile.slug)}[/]")
    console.print("[cyan]\\[3/5][/] Filtering enabled models...")
    activation = activate_profile(profile, force=True, who="startup")
    _show_members(console, activation)
    count = len(activation.started)
    console.print(f"[cyan]\\[4/5][/] Launching {count} server{'' if count == 1 else 's'}...")
    if not activation.started:
        console.print(
            "  No model is enabled that could run; nothing is launched.", style="yellow"
        )
    servers = _wait(console, activation.started)
    console.print("[cyan]\\[5/5][/] Running health checks...")
    ready = sum(server.state == ServerState.READY for server in servers)
    if servers:
        style = "green" if ready == len(servers) else "yellow"
        console.print(f"  {ready}/{len(servers)} servers ready", style=style)
    console.print(RULE)
    console.print("MAGI STARTUP COMPLETE", style="bold")
    console.print(f"  Profile: {escape(profile.name)}")
    console.print(
        f"  Models discovered: {DiscoveredModel.objects.filter(is_missing=False).count()}"
    )
    console.print(f"  Models enabled: {count}")
    console.print(f"  Servers launched: {ready}")
    console.print(RULE)
    return ready == len(servers)


def _show_members(console: Console, activation: Activation) -> None:
    for server in activation.started:
        console.print(f"  [green]✓[/] {escape(server.model.display_name)}")
    for model_id in activation.missing:
        console.print(f"  [yellow]![/] Model not found: {escape(model_id)}")
    for error in activation.errors:
        if not error.path.startswith("enabled_models"):  # those are told of above
            console.print(f"  [yellow]![/] {escape(str(error))}")
    for model_id, reason in activation.refused:
        console.print(f"  [red]✗[/] {escape(model_id)}: {escape(reason)}")


def _wait(console: Console, started: list[Server]) -> list[Server]:
    """Follow the servers until each is ready, has failed, or had its time."""
    server_ids = [server.pk for server in started]
    deadline = time.monotonic() + _patience_s(started)
    told: set[int] = set()
    with console.status("loading") as status:
        while True:
            servers = list(Server.objects.select_related("model").filter(pk__in=server_ids))
            for server in servers:
                if server.pk not in told and is_settled(server):
                    told.add(server.pk)
                    _tell(console, server)
            loading = [str(s.model) for s in servers if s.pk not in told]
            if not loading or time.monotonic() > deadline:
                break
            status.update("loading " + escape(", ".join(loading)))
            time.sleep(POLL_S)
    for name in loading:
        console.print(f"  [yellow]…[/] {escape(name)} is still loading; see the admin")
    return servers


def _patience_s(servers: list[Server]) -> float:
    each = [max_startup_s(server.model) for server in servers]
    together = max(each, default=0) if settings.MODEL_CONCURRENT_STARTS else sum(each)
    return together + PATIENCE_MARGIN_S


def is_settled(server: Server) -> bool:
    """Whether there is nothing to wait for: a failure counts if nobody asked since."""
    if server.state == ServerState.FAILED:
        return not server.is_asked_again
    return server.state == ServerState.READY or server.wanted == Wanted.STOPPED


def _tell(console: Console, server: Server) -> None:
    name = escape(str(server.model))
    if server.state == ServerState.READY and server.ready_at and server.launched_at:
        seconds = (server.ready_at - server.launched_at).total_seconds()
        console.print(f"  [green]✓[/] {name} ready at port {server.port} ({seconds:.1f} s)")
    else:
        reason = escape(server.last_error or "it was stopped meanwhile")
        console.print(f"  [red]✗[/] {name} failed: {reason}")
