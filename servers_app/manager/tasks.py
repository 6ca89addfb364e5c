"""Celery entry points of the model manager: each calls what does the work."""

from celery import shared_task

from servers_app.manager import performance, switching


@shared_task(ignore_result=True)
def finish_switches(node: str) -> None:
    switching.finish(node)


@shared_task(ignore_result=True)
def note_performance(node: str) -> None:
    performance.note_all(node)
