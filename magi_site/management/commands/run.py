"""`manage.py run`: all of MAGI in one terminal, from nothing to models that answer."""

import signal
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape

from magi_site import demo
from magi_site.bootstrap import bootstrap
from magi_site.exposure import is_local_only
from magi_site.preflight import check_database, check_port, check_redis, single_run
from magi_site.processes import STOP_SIGNALS
from magi_site.runner import Runner
from models_app.errors import ModelsError
from models_app.listing import scan_with_progress, show_report
from models_app.models import DiscoveredModel
from profiles_app.errors import ProfilesError
from profiles_app.models import Profile
from profiles_app.services import profile_to_load
from servers_app.startup import announce, start_profile

WATCH_S = 0.5


class Stop(Exception):
    """SIGINT, SIGTERM or SIGHUP came."""


class Command(BaseCommand):
    help = (
        "Run MAGI: web, worker, beat and Redis, with the models of a profile. Ctrl-C stops all."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--demo",
            action="store_true",
            help="Install SmolLM2-135M (98 MB), and run it in a profile of its own.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(soft_wrap=True, highlight=False)
        for number in STOP_SIGNALS:
            signal.signal(number, _raise_stop)
        try:
            with single_run(Path(settings.MAGI_RUN_DIR)):
                self._run(console, wants_demo=options["demo"])
        except Stop:  # before anything was started
            console.print("Stopped.")
        except (ImproperlyConfigured, ModelsError, ProfilesError) as error:
            raise CommandError(str(error)) from error

    def _run(self, console: Console, *, wants_demo: bool) -> None:
        runner = Runner(console)
        runner.end_leftovers()
        check_port(settings.MAGI_HOST, settings.MAGI_PORT)
        check_database()
        check_redis()
        bootstrap(console)
        if not wants_demo:
            profile_to_load()  # missing: say so before anything is started
        try:
            runner.start()
            profile = self._prepare(console, wants_demo=wants_demo)
            start_profile(console, profile)
            self._say_where(console, profile)
            while True:
                runner.keep_alive()
                time.sleep(WATCH_S)
        except Stop:
            console.print()
        finally:
            _ignore_signals()
            runner.stop()

    def _prepare(self, console: Console, *, wants_demo: bool) -> Profile:
        """Step 1, and the demo if it is wanted; return the profile to load."""
        announce(console)
        root = None
        if wants_demo:
            root = self._install_demo(console)
        console.print("[cyan]\\[1/5][/] Discovering GGUF models...")
        show_report(console, scan_with_progress(console, settings.MAGI_NODE).as_json())
        if root is None and not DiscoveredModel.objects.filter(is_missing=False).exists():
            if not _ask(console):
                console.print(
                    "No model is here yet. [bold]make demo[/] installs a small one to try; or "
                    "set MODEL_SCAN_PATH to a folder of GGUF files."
                )
                return profile_to_load()
            root = self._install_demo(console)
            scan_with_progress(console, settings.MAGI_NODE)
        return demo.ensure_profile(root) if root else profile_to_load()

    def _install_demo(self, console: Console) -> Any:
        with console.status(f"Installing {demo.REQUIREMENT} (98 MB)"):
            return demo.add_root(demo.install())

    def _say_where(self, console: Console, profile: Profile) -> None:
        host = "localhost" if is_local_only() else settings.MAGI_HOST
        base = f"http://{f'[{host}]' if ':' in host else host}:{settings.MAGI_PORT}"
        console.print(f"Admin      [bold]{base}/admin/[/]")
        console.print(f"OpenAI API [bold]{base}/v1[/]")
        console.print(f"Logs       {escape(str(Path(settings.MAGI_DATA_DIR) / 'logs'))}")
        if profile.members.exists():
            body = '{"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}'
            console.print(
                f"Try        curl {base}/v1/chat/completions "
                f"-H 'Content-Type: application/json' -d '{escape(body)}'"
            )
        console.print("Ctrl-C stops MAGI and its llama-servers.")


def _ask(console: Console) -> bool:
    """Ask whether to install the demo model; without a terminal the answer is no."""
    if not sys.stdin.isatty():
        return False
    question = "No GGUF model was found. Install SmolLM2-135M (98 MB) to try MAGI? \\[y/N] "
    try:
        return console.input(question).strip().lower() in {"y", "yes"}
    except EOFError:
        return False


def _raise_stop(_number: int, _frame: FrameType | None) -> None:
    _ignore_signals()
    raise Stop


def _ignore_signals() -> None:
    """From the first Ctrl-C on, everything is being stopped; a second changes nothing."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
