import signal
import threading
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from models_app.watcher import Watcher


class Command(BaseCommand):
    help = (
        "Watch this node's scan roots, and have its worker rescan them when a model lands "
        "in one. SIGTERM ends it. `make run` starts it where MAGI_WATCH is true."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()

        def end(_number: int, _frame: FrameType | None) -> None:
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        Watcher(settings.MAGI_NODE, stop).run()
