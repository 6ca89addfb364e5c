"""Celery's beat, which opens its schedule before it listens for signals.

Celery's own handler of SIGTERM writes the schedule down. Told to end while that is being
opened, it would open it anew, take it for corrupted, remove it and end with a traceback.
"""

from celery.apps import beat
from celery.beat import Service


class Beat(beat.Beat):
    """Ends at once, as any process does, where SIGTERM comes before its schedule is open."""

    def install_sync_handler(self, service: Service) -> None:
        service.scheduler  # noqa: B018 - opens it
        super().install_sync_handler(service)
