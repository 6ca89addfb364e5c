"""Whether the Celery worker of this process is to end.

Long work asks: it then stops within a second, leaves nothing running, and is for the next
worker to go on with. A worker waits for its tasks before it ends.
"""

import threading
from typing import Any, Final

from celery.signals import celeryd_after_setup, worker_shutting_down

stopping: Final = threading.Event()


def _on_setup(**_signal: Any) -> None:
    stopping.clear()


def _on_shutdown(**_signal: Any) -> None:
    stopping.set()


celeryd_after_setup.connect(_on_setup, weak=False)
worker_shutting_down.connect(_on_shutdown, weak=False)
