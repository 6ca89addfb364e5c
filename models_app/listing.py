"""Tell a scan on the terminal: progress while it runs, then the guide's listing."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from models_app import registry
from models_app.models import DiscoveredModel
from models_app.tiers import TIERS

RULE = "=" * 64


def scan_with_progress(
    console: Console, node: str, *, prune: bool = False
) -> registry.ScanReport:
    """Scan here and now, with a bar that counts files."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed} files"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[folder]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        # How many files there are is known at the end only: the bar moves, and says so.
        task = progress.add_task("scan", total=None, folder="")

        def on_file(path: Path | str, seen: int) -> None:
            progress.update(task, completed=seen, folder=Path(path).parent.name)

        return registry.rescan(node, on_file=on_file, prune=prune)


def show_report(console: Console, report: dict[str, Any]) -> None:
    """Print what was scanned, each model with its tier and port, and what was skipped."""
    for path in report["scan_paths"]:
        console.print(f"Scanning for GGUF models in: {escape(path)}", soft_wrap=True)
    for root in report["root_errors"]:
        console.print(
            f"[yellow]Not scanned:[/] {escape(root['path'])}: {escape(root['reason'])}"
        )
    found = _count(report["files_seen"], "GGUF file")
    console.print(f"Found {found} in {report['seconds']:.2f} s")
    models = list(DiscoveredModel.objects.filter(is_missing=False).order_by("filename"))
    for model in models:
        console.print(
            f"Discovered: {escape(model.display_name)} [cyan]\\[{model.tier or model.kind}][/]"
            f"{_port(model)} [dim]{model.model_id}[/]",
            soft_wrap=True,
        )
    if report["skipped"]:
        table = Table("Skipped", "Why", box=None)
        for skipped in report["skipped"]:
            path = _within(skipped["path"], report["scan_paths"])
            table.add_row(escape(path), escape(skipped["reason"]))
        console.print(table)
    for what, ids in (("Missing", report["missing"]), ("Removed", report["pruned"])):
        for model_id in ids:
            console.print(f"[yellow]{what}:[/] {escape(model_id)}")
    console.print(f"Discovery complete: {_count(len(models), 'model')} registered")
    _show_tiers(console, models)


def _within(path: str, scan_paths: list[str]) -> str:
    """Return `path` from its scan root on: a name alone says little in a cache."""
    for root in scan_paths:
        if path.startswith(f"{root}/"):
            return path.removeprefix(f"{root}/")
    return path


def _show_tiers(console: Console, models: list[DiscoveredModel]) -> None:
    console.print(RULE)
    console.print("MODEL TIER ASSIGNMENT SUMMARY", style="bold")
    console.print(RULE)
    for tier in TIERS:
        members = [model for model in models if model.tier == tier]
        console.print(f"{tier.upper()} tier: {_count(len(members), 'model')}")
        for model in members:
            console.print(f"  - {escape(model.display_name)}{_port(model)}")
    console.print(RULE)


def _port(model: DiscoveredModel) -> str:
    return f" @ port {model.port}" if model.port else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
