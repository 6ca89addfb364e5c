"""Have all that the processes of MAGI say go through one formatter: uvicorn and Celery, too.

Django calls `configure` with LOGGING, in every process, before anything of ours is said.
"""

import logging
import logging.config
import os
import sys
from functools import partial
from typing import Any, Final

from celery import Celery, signals
from django.conf import settings

JSON: Final = "json"
# uvicorn gives them handlers of its own, before it imports us.
UVICORN: Final = ("uvicorn", "uvicorn.error", "uvicorn.asgi")


def logging_config(style: str, level: str, node: str) -> dict[str, Any]:
    """Return Django's LOGGING.

    Args:
        style: line or json.
        level: of Python's names, in upper case.
    """
    quiet = (
        "axes",
        # A reconcile every few seconds would fill the worker's log with its own success.
        "celery.app.trace",
        "celery.worker.strategy",
        "httpx2",  # it tells of signed addresses
        "opentelemetry.attributes",
        "watchfiles.main",  # a line for each piece of a download
    )
    loggers: dict[str, Any] = {name: {"level": "WARNING"} for name in quiet}
    # While PostgreSQL is away, each attempt to connect is a line: several in a second.
    loggers["psycopg.pool"] = {"level": "WARNING", "filters": ["seldom"]}
    loggers |= {name: {"handlers": [], "propagate": True} for name in UVICORN}
    # Off, as uvicorn was told: naming its parent would switch it on, and it costs each request.
    loggers["uvicorn.access"] = {"handlers": [], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {"()": "magi_site.log_lines.LineFormatter"},
            JSON: {"()": "magi_site.log_lines.JsonFormatter", "node": node},
        },
        "filters": {"seldom": {"()": "magi_site.log_lines.Seldom"}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": style}},
        "loggers": loggers,
        "root": {"handlers": ["console"], "level": level},
    }


def configure(config: dict[str, Any]) -> None:
    """Set up logging for this process, and keep Celery from doing so again."""
    logging.config.dictConfig(config)
    signals.setup_logging.connect(_leave_as_it_is, weak=False)
    if config["handlers"]["console"]["formatter"] == JSON:
        logging.captureWarnings(capture=True)


def without_banners(app: Celery) -> None:
    """Have Celery print nothing beside its log, where that is JSON.

    To be called when the app is made: settings are asked when a worker or a beat begins.
    """
    signals.celeryd_init.connect(_quieten_worker, weak=False)
    vars(app)["Beat"] = partial(_beat, app)


def _beat(app: Celery, **options: Any) -> Any:
    from magi_site.beat import Beat  # noqa: PLC0415 - in the beat process alone

    return Beat(app=app, **{**options, "quiet": options.get("quiet") or _is_json()})


def _is_json() -> bool:
    return bool(settings.MAGI_LOG_FORMAT == JSON)


def _leave_as_it_is(**_signal: Any) -> None:
    """Where somebody listens to this signal, Celery leaves the loggers alone."""


def _quieten_worker(**_signal: Any) -> None:
    from celery.apps import worker  # noqa: PLC0415 - in workers alone

    if _is_json():
        signals.celeryd_after_setup.connect(_without_banner, weak=False)
        vars(worker)["safe_say"] = _say


def _without_banner(*, instance: Any, **_signal: Any) -> None:
    instance.quiet = True


def _say(message: object, _stream: object = None) -> None:
    """Write what Celery says in a signal's handler, where the logging's locks may be held."""
    record = logging.LogRecord(
        "celery.apps.worker", logging.INFO, "", 0, str(message).strip(), None, None
    )
    formatter = logging.getLogger().handlers[0].formatter
    if formatter is not None:
        os.write(sys.stderr.fileno(), formatter.format(record).encode() + b"\n")
