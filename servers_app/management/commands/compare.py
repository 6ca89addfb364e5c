"""`manage.py compare`: two models on the same prompts, side by side, and one's votes."""

import json
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder
from rich.console import Console

from models_app.acting import who_asks
from models_app.errors import ModelsError
from models_app.lookup import get_model
from models_app.queue import require_worker
from models_app.task_kinds import TaskKind
from models_app.terminal import INTERRUPTED, make_console
from servers_app.bench.where import measuring_node
from servers_app.benchmark_models import BENCHMARK_UNDER_WAY, BenchmarkState
from servers_app.comparing import service, votes
from servers_app.comparing.prompts import MAX_TEXT_CHARS, Prompt, read_prompts, shipped
from servers_app.comparing.shown import (
    detail_of,
    outline_of,
    outlines_of,
    prompt_shown,
    prompts_shown,
    results_shown,
)
from servers_app.comparing.terminal import bar, list_table, pair, results_table
from servers_app.comparison_models import Comparison
from servers_app.errors import ServersError

LISTED: Final = 50
FOLLOW_S: Final = 0.5
STANDARD_INPUT: Final = "-"
KEYS: Final = {"l": "left", "r": "right", "t": "tie", "n": "neither"}
QUESTION: Final = "Which is better? [l]eft, [r]ight, [t]ie, [n]either, [s]kip, [q]uit: "


class Command(BaseCommand):
    help = (
        "Have two models answer the same prompts, and vote on the answers, blind. A model "
        "that does not run is launched for it alone."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model_ids", nargs="*", metavar="MODEL")
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "--prompts",
            metavar="FILE",
            help='One a line, or lines of {"prompt": …, "task": …}; - is standard input.',
        )
        which.add_argument(
            "--task", choices=TaskKind.values, help="The shipped prompts of a task."
        )
        parser.add_argument("--name", default="", help="What it is called.")
        parser.add_argument("--system", help="The system prompt of all requests.")
        parser.add_argument("--max-tokens", type=int, metavar="N")
        parser.add_argument("--temperature", type=float, metavar="T")
        parser.add_argument("--seed", type=int, metavar="N")
        parser.add_argument("--no-wait", action="store_true", help="Only ask for it.")
        parser.add_argument(
            "--vote", action="store_true", help="Vote when it is done, or with --show."
        )
        parser.add_argument("--list", action="store_true", help="What was compared.")
        parser.add_argument("--show", type=int, metavar="NUMBER", help="All of one.")
        parser.add_argument("--cancel", type=int, metavar="NUMBER", help="Stop one.")
        parser.add_argument("--json", action="store_true", help="For machines.")

    def handle(self, *args: Any, **options: Any) -> None:
        self.console = make_console()
        self.as_json: bool = options["json"]
        if options["vote"] and self.as_json:
            msg = "--vote asks questions; leave --json away."
            raise CommandError(msg)
        try:
            self._do(options)
        except (ServersError, ModelsError) as error:
            raise CommandError(str(error)) from error

    def _do(self, options: dict[str, Any]) -> None:
        if options["list"]:
            self._list()
        elif options["cancel"] is not None:
            self._cancel(service.get_comparison(options["cancel"]))
        elif options["show"] is not None:
            self._end(service.get_comparison(options["show"]), options)
        elif len(options["model_ids"]) == 2:
            self._compare(options)
        else:
            msg = "Give the ids of two models (`manage.py models list` shows them), or --list."
            raise CommandError(msg)

    def _compare(self, options: dict[str, Any]) -> None:
        model_a, model_b = map(get_model, options["model_ids"])
        given = {name: options[name] for name in service.DEFAULTS if options[name] is not None}
        prompts = _prompts(options)
        require_worker(measuring_node(model_a))
        comparison = service.request_comparison(
            model_a, model_b, prompts, name=options["name"], settings=given, who=who_asks()
        )
        if not options["no_wait"]:
            self._end(self._followed(comparison), options)
        elif self.as_json:
            self._print(outline_of(comparison))
        else:
            self._say(
                f"Comparison {comparison.pk} is asked for. `manage.py compare --show "
                f"{comparison.pk} --vote` shows it when it is done."
            )

    def _followed(self, comparison: Comparison) -> Comparison:
        try:
            with bar(Console(stderr=True), f"Comparison {comparison.pk}") as shown:
                while comparison.state in BENCHMARK_UNDER_WAY:
                    time.sleep(FOLLOW_S)
                    comparison = service.get_comparison(comparison.pk)
                    waits = comparison.state == BenchmarkState.QUEUED
                    note = "waits until nothing else is measured" if waits else ""
                    shown.show(outline_of(comparison)["percent"], note)
        except KeyboardInterrupt as interrupt:
            msg = (
                f"Not waiting any more; it goes on. `manage.py compare --cancel "
                f"{comparison.pk}` stops it."
            )
            raise CommandError(msg, returncode=INTERRUPTED) from interrupt
        return comparison

    def _end(self, comparison: Comparison, options: dict[str, Any]) -> None:
        if self.as_json:
            self._print(detail_of(comparison, who=who_asks()))
        elif options["vote"]:
            self._vote(comparison)
        else:
            self._show(comparison)
        if comparison.state == BenchmarkState.FAILED:
            raise CommandError(comparison.error)

    def _show(self, comparison: Comparison) -> None:
        prompts = prompts_shown(comparison, who=who_asks())
        for prompt in prompts:
            self.console.print(pair(prompt, of=len(prompts)))
        self._results(comparison)
        if any(prompt["can_vote"] and prompt["vote"] is None for prompt in prompts):
            self._say(
                "Whose answer is whose is shown after your vote: "
                f"manage.py compare --show {comparison.pk} --vote"
            )

    def _vote(self, comparison: Comparison) -> None:
        who = who_asks()
        prompts = prompts_shown(comparison, who=who)
        for prompt in prompts:
            if not prompt["can_vote"] or prompt["vote"] is not None:
                continue
            self.console.print(pair(prompt, of=len(prompts)))
            choice = self._asked()
            if choice == "q":
                break
            if choice == "s":
                continue
            row = service.get_prompt(comparison, prompt["position"])
            votes.cast(row, KEYS[choice], who=who)
            now = prompt_shown(row, who=who)
            self._say(f"Left was {now['left_model']}, right was {now['right_model']}.")
        self._results(comparison)

    def _asked(self) -> str:
        """Return the letter of an answer; who is gone quits."""
        while True:
            self.stdout.write(QUESTION, ending="")
            self.stdout.flush()
            line = sys.stdin.readline()
            answer = line.strip().lower()[:1]
            if not line:
                return "q"
            if answer in (*KEYS, "s", "q"):
                return answer

    def _results(self, comparison: Comparison) -> None:
        results = results_shown(comparison)
        self.console.print(results_table(results, comparison.model_a, comparison.model_b))

    def _list(self) -> None:
        outlines = outlines_of(list(Comparison.objects.all()[:LISTED]))
        if self.as_json:
            self._print(outlines)
        elif outlines:
            self.console.print(list_table(outlines))
        else:
            self._say("Nothing was compared yet. `manage.py compare MODEL MODEL` does.")

    def _cancel(self, comparison: Comparison) -> None:
        service.cancel_comparison(comparison, who=who_asks())
        comparison = service.get_comparison(comparison.pk)
        if self.as_json:
            self._print(outline_of(comparison))
        elif comparison.state in BENCHMARK_UNDER_WAY:
            self._say(f"Comparison {comparison.pk} stops.")
        else:
            self._say(f"Comparison {comparison.pk} is {comparison.state}.")

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    def _print(self, value: object) -> None:
        self.stdout.write(json.dumps(value, indent=2, cls=DjangoJSONEncoder))


def _prompts(options: dict[str, Any]) -> list[Prompt]:
    if options["prompts"] is None:
        return shipped(options["task"] or TaskKind.GENERAL)
    try:
        if options["prompts"] == STANDARD_INPUT:
            text = sys.stdin.read(MAX_TEXT_CHARS + 1)
        else:
            with Path(options["prompts"]).open(encoding="utf-8") as file:
                text = file.read(MAX_TEXT_CHARS + 1)
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{options['prompts']} cannot be read as text: {error}. Give a file of UTF-8."
        raise CommandError(msg) from error
    return read_prompts(text)
