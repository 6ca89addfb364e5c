"""`manage.py tune`: search for faster run settings of a model, and take them over."""

import json
import time
from argparse import ArgumentParser
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models_app.acting import who_asks
from models_app.errors import ModelsError
from models_app.lookup import get_model
from models_app.queue import require_worker
from models_app.terminal import INTERRUPTED, make_console
from profiles_app.errors import ProfilesError
from servers_app.bench.results import get_benchmark
from servers_app.bench.service import cancel_benchmark
from servers_app.bench.where import measuring_node
from servers_app.benchmark_models import (
    BENCHMARK_UNDER_WAY,
    Benchmark,
    BenchmarkKind,
    BenchmarkState,
)
from servers_app.comparing.terminal import bar
from servers_app.errors import ServersError, TuningInvalidError
from servers_app.tuning.applying import apply_tuning
from servers_app.tuning.goals import Goal
from servers_app.tuning.service import DEFAULT_MINUTES, request_tuning
from servers_app.tuning.shown import as_json, tuning_of

LISTED: Final = 50
FOLLOW_S: Final = 0.5


class Command(BaseCommand):
    help = (
        "Search for run settings with which a model is faster on its machine. Nothing is "
        "applied by it: --apply NUMBER does that."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model_id", nargs="?", metavar="MODEL")
        parser.add_argument("--minutes", type=float, default=DEFAULT_MINUTES, metavar="N")
        parser.add_argument("--goal", choices=list(Goal), default=Goal.BOTH)
        parser.add_argument(
            "--allow-lossy",
            action="store_true",
            help="Try KV types below q8_0, too, which may cost quality.",
        )
        parser.add_argument("--no-wait", action="store_true", help="Only ask for it.")
        parser.add_argument("--list", action="store_true", help="What was searched.")
        parser.add_argument("--show", type=int, metavar="NUMBER", help="All of one.")
        parser.add_argument("--apply", type=int, metavar="NUMBER", help="Take one over.")
        parser.add_argument("--cancel", type=int, metavar="NUMBER", help="Stop one.")
        parser.add_argument("--json", action="store_true", help="For machines.")

    def handle(self, *args: Any, **options: Any) -> None:
        self.console = make_console()
        self.as_json: bool = options["json"]
        try:
            self._do(options)
        except (ServersError, ProfilesError, ModelsError) as error:
            raise CommandError(str(error)) from error

    def _do(self, options: dict[str, Any]) -> None:
        if options["list"]:
            self._list()
        elif options["show"] is not None:
            self._end(_search(options["show"]))
        elif options["apply"] is not None:
            self._apply(_search(options["apply"]))
        elif options["cancel"] is not None:
            cancel_benchmark(_search(options["cancel"]), who=who_asks())
            self._end(_search(options["cancel"]))
        elif options["model_id"]:
            self._tune(options)
        else:
            msg = "Give the id of a model (`manage.py models list` shows them), or --list."
            raise CommandError(msg)

    def _tune(self, options: dict[str, Any]) -> None:
        model = get_model(options["model_id"])
        require_worker(measuring_node(model))
        benchmark = request_tuning(
            model,
            minutes=options["minutes"],
            goal=options["goal"],
            who=who_asks(),
            allow_lossy=options["allow_lossy"],
        )
        if not options["no_wait"]:
            self._end(self._followed(benchmark))
        elif self.as_json:
            self._print(as_json(benchmark))
        else:
            self._say(
                f"Search {benchmark.pk} is asked for. `manage.py tune --show {benchmark.pk}` "
                "shows how far it is."
            )

    def _followed(self, benchmark: Benchmark) -> Benchmark:
        try:
            with bar(Console(stderr=True), f"Search {benchmark.pk}") as shown:
                while benchmark.state in BENCHMARK_UNDER_WAY:
                    time.sleep(FOLLOW_S)
                    benchmark = get_benchmark(benchmark.pk)
                    waits = benchmark.state == BenchmarkState.QUEUED
                    note = "waits until nothing else is measured" if waits else benchmark.note
                    shown.show(100 * benchmark.progress, note)
        except KeyboardInterrupt as interrupt:
            msg = (
                f"Not waiting any more; it goes on. `manage.py tune --cancel {benchmark.pk}` "
                "stops it."
            )
            raise CommandError(msg, returncode=INTERRUPTED) from interrupt
        return benchmark

    def _end(self, benchmark: Benchmark) -> None:
        if self.as_json:
            self._print(as_json(benchmark))
        else:
            self._show(benchmark)
        if benchmark.state == BenchmarkState.FAILED:
            raise CommandError(benchmark.error)

    def _show(self, benchmark: Benchmark) -> None:
        shown = tuning_of(benchmark)
        self._say(
            f"Search {benchmark.pk} of {benchmark.model_id}, {benchmark.state}"
            + (f": {benchmark.note}" if benchmark.note else "")
        )
        if shown.baseline is not None:
            table = Table(
                *("", "Settings", "Prompt, tokens/s", "Generation, tokens/s", "Gain", ""),
                box=None,
            )
            for line in (shown.baseline, *shown.trials):
                table.add_row(
                    str(line.number or ""),
                    escape(line.settings),
                    line.prompt,
                    line.generation,
                    line.gain,
                    escape(line.error) or ("kept" if line.is_kept and line.number else ""),
                )
            self.console.print(table)
        for text in (shown.sentence, shown.error_at_end, shown.drift):
            if text:
                self._say(text)
        if shown.settings:
            self._say(f"To take that over: manage.py tune --apply {benchmark.pk}")

    def _list(self) -> None:
        rows = list(Benchmark.objects.filter(kind=BenchmarkKind.TUNE)[:LISTED])
        if self.as_json:
            self._print([as_json(row) for row in rows])
            return
        if not rows:
            self._say("Nothing was searched yet. `manage.py tune MODEL` does.")
            return
        table = Table("No.", "Model", "State", "Asked", "By", "What it came to", box=None)
        for row in rows:
            table.add_row(
                str(row.pk),
                escape(row.model_id),
                row.state,
                f"{timezone.localtime(row.asked_at):%Y-%m-%d %H:%M}",
                escape(row.asked_by or "-"),
                escape(tuning_of(row).sentence or row.error or row.note),
            )
        self.console.print(table)

    def _apply(self, benchmark: Benchmark) -> None:
        applied = apply_tuning(benchmark, who=who_asks())
        if self.as_json:
            self._print({"settings": applied.settings, "overruled": applied.overruled})
        else:
            self._say(f"{benchmark.model_id}: {applied.sentence}")

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    def _print(self, value: object) -> None:
        self.stdout.write(json.dumps(value, indent=2, cls=DjangoJSONEncoder))


def _search(number: int) -> Benchmark:
    benchmark = get_benchmark(number)
    if benchmark.kind != BenchmarkKind.TUNE:
        msg = f"Benchmark {number} is no search. `manage.py bench --show {number}` shows it."
        raise TuningInvalidError(msg)
    return benchmark
