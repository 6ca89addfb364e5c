"""`manage.py bench`: measure a model here and now, list what was measured, compare two."""

import json
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from models_app.acting import who_asks
from models_app.errors import ModelsError
from models_app.lookup import get_model
from models_app.models import DiscoveredModel
from models_app.queue import require_worker
from models_app.terminal import INTERRUPTED, make_console
from profiles_app.errors import ProfilesError
from servers_app.bench import service
from servers_app.bench.applying import apply_expected_time, challenges, expected_seconds
from servers_app.bench.comparing import compare
from servers_app.bench.plan import QUICK, RUNNING, Plan, plan_of
from servers_app.bench.results import get_benchmark
from servers_app.bench.shown import detail_of, outline_of
from servers_app.bench.terminal import (
    Bar,
    bar,
    benchmarks_table,
    comparison_table,
    figures_table,
)
from servers_app.bench.where import measuring_node
from servers_app.bench.worker import measure_here
from servers_app.benchmark_models import (
    BENCHMARK_UNDER_WAY,
    Benchmark,
    BenchmarkKind,
    BenchmarkState,
)
from servers_app.errors import ServersError

LISTED = 50
FOLLOW_S = 0.3


class Command(BaseCommand):
    help = "Measure how fast a model is on this machine; list and compare what was measured."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model_id", nargs="?", metavar="ID")
        parser.add_argument(
            "--contexts", type=_numbers, metavar="N,N", help="Tokens of the prompts."
        )
        parser.add_argument(
            "--clients", type=_numbers, metavar="N,N", help="How many ask at once."
        )
        parser.add_argument("--repeats", type=int, metavar="N", help="Rounds of each.")
        parser.add_argument("--tokens", type=int, metavar="N", help="Generated for an answer.")
        parser.add_argument("--max-seconds", type=int, metavar="N", help="No round after that.")
        parser.add_argument("--quick", action="store_true", help="A minute rather than ten.")
        parser.add_argument(
            "--running", action="store_true", help="The model's own server, as it runs."
        )
        parser.add_argument("--list", action="store_true", help="What was measured.")
        parser.add_argument("--show", type=int, metavar="NUMBER", help="All of one.")
        parser.add_argument("--compare", type=int, nargs=2, metavar="NUMBER")
        parser.add_argument(
            "--apply",
            type=int,
            metavar="NUMBER",
            help="Have the active profile expect the time that was measured.",
        )
        parser.add_argument("--json", action="store_true", help="For machines.")

    def handle(self, *args: Any, **options: Any) -> None:
        self.console = make_console(stderr=options["json"])
        self.as_json: bool = options["json"]
        try:
            self._do(options)
        except (ServersError, ProfilesError, ModelsError) as error:
            raise CommandError(str(error)) from error

    def _do(self, options: dict[str, Any]) -> None:
        if options["compare"] is not None:
            self._compare(*options["compare"])
        elif options["apply"] is not None:
            self._apply(get_benchmark(options["apply"]))
        elif options["show"] is not None:
            self._show(get_benchmark(options["show"]))
        elif options["list"]:
            self._list(options["model_id"])
        elif options["model_id"]:
            self._measure(get_model(options["model_id"]), _plan(options))
        else:
            msg = "Give the id of a model (`manage.py models list` shows them), or --list."
            raise CommandError(msg)

    def _measure(self, model: DiscoveredModel, plan: Plan) -> None:
        with bar(self.console, model.model_id) as shown:
            try:
                if measuring_node(model) == settings.MAGI_NODE:
                    benchmark = _here(model, plan, shown)
                else:
                    benchmark = _elsewhere(model, plan, shown)
            except KeyboardInterrupt as interrupt:
                msg = "Cancelled; nothing was kept of it."
                raise CommandError(msg, returncode=INTERRUPTED) from interrupt
        if benchmark.state != BenchmarkState.FINISHED:
            raise CommandError(benchmark.error)
        self._show(benchmark)

    def _show(self, benchmark: Benchmark) -> None:
        if self.as_json:
            self._print(detail_of(benchmark))
            return
        self.console.print(
            f"Benchmark {benchmark.pk} of {benchmark.model_id}, {benchmark.state}, on "
            f"{benchmark.node}: {benchmark.machine or 'a machine that nobody knows'}",
            f"llama-server {benchmark.build or 'unknown'}",
            sep="\n",
            soft_wrap=True,
            markup=False,
        )
        if benchmark.error:
            self.console.print(benchmark.error, soft_wrap=True, markup=False)
        if not benchmark.figures:
            return
        self.console.print(figures_table(benchmark))
        seconds = expected_seconds(benchmark)
        lines = [
            f"Memory at its peak: {benchmark.peak_ram_mib or '?'} MiB"
            + (f", and {benchmark.peak_vram_mib} on GPUs" if benchmark.peak_vram_mib else ""),
            benchmark.note,
            *challenges(benchmark),
            f"An answer of 200 tokens takes about {seconds} s. To have the active profile "
            f"expect that of its tier: manage.py bench --apply {benchmark.pk}"
            if seconds
            else "",
        ]
        for line in filter(None, lines):
            self.console.print(line, soft_wrap=True, markup=False)

    def _list(self, model_id: str | None) -> None:
        rows = Benchmark.objects.filter(kind=BenchmarkKind.MEASURE)
        if model_id:
            rows = rows.filter(model_id=model_id)
            if not rows.exists():  # of one that was forgotten since, they are there still
                get_model(model_id)
        shown = list(rows.defer("figures")[:LISTED])
        if self.as_json:
            self._print([outline_of(each) for each in shown])
        elif shown:
            self.console.print(benchmarks_table(shown))
        else:
            self.console.print("Nothing was measured yet. `manage.py bench ID` does.")

    def _compare(self, a: int, b: int) -> None:
        found = compare(get_benchmark(a), get_benchmark(b))
        if self.as_json:
            self._print(found.as_json())
            return
        self.console.print(comparison_table(found))
        self.console.print(found.verdict, soft_wrap=True, markup=False)

    def _apply(self, benchmark: Benchmark) -> None:
        done = apply_expected_time(benchmark, who=who_asks())
        if self.as_json:
            self._print(
                {
                    "profile": done.profile,
                    "tier": done.tier,
                    "before": done.before,
                    "after": done.after,
                }
            )
            return
        self.console.print(
            f"Profile {done.profile} expects {done.after:g} s of the tier {done.tier} now; "
            f"it was {done.before:g} s.",
            soft_wrap=True,
        )

    def _print(self, value: Any) -> None:
        self.stdout.write(json.dumps(value, indent=2))


def _here(model: DiscoveredModel, plan: Plan, shown: Bar) -> Benchmark:
    return measure_here(
        model,
        plan,
        who=who_asks(),
        on_progress=shown.show,
        on_wait=lambda: shown.wait("waits for another benchmark"),
    )


def _elsewhere(model: DiscoveredModel, plan: Plan, shown: Bar) -> Benchmark:
    """Have the worker of the model's node measure it, and follow that."""
    require_worker(measuring_node(model))
    benchmark = service.request_benchmark(model, who=who_asks(), **plan.as_json())
    try:
        while benchmark.state in BENCHMARK_UNDER_WAY:
            shown.show(benchmark)
            benchmark = service.wait_for(benchmark.pk, seconds=FOLLOW_S)
    except KeyboardInterrupt:
        service.cancel_benchmark(benchmark, who=who_asks())
        raise
    return benchmark


def _plan(options: dict[str, Any]) -> Plan:
    names = ("contexts", "clients", "repeats", "tokens", "max_seconds")
    given = {name: options[name] for name in names if options[name] is not None}
    if options["running"]:
        given["target"] = RUNNING
    return plan_of(given, base=QUICK if options["quick"] else None)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        msg = f"{text}: give whole numbers, separated by commas."
        raise ArgumentTypeError(msg) from error
