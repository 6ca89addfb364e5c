"""How a line of the log is written: for people, or as JSON for programs.

Either has the id of the request that it is about, where there is one: the same as in the
answer, in the tasks that the request queued, and with the servers that they started.
"""

import json
import logging
import os
import threading
import time
from datetime import UTC, datetime
from typing import Any, Final

from models_app.request_ids import current_request_id
from models_app.task_signals import current_task

LINE: Final = "{asctime} {levelname} {name}: {message}"
FIELDS: Final = "fields"  # of a record: what it says, by name
SELDOM_S: Final = 10.0


class Seldom(logging.Filter):
    """Lets one line of a kind through in SELDOM_S, with how many were held back before it."""

    def __init__(self) -> None:
        super().__init__()
        # By message, before its arguments: when it was told (monotonic), and how many were not.
        self._kinds: dict[object, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        with self._lock:
            told_at, held = self._kinds.get(record.msg, (float("-inf"), 0))
            if now - told_at < SELDOM_S:
                self._kinds[record.msg] = told_at, held + 1
                return False
            self._kinds[record.msg] = now, 0
        if held:
            record.msg = f"{record.msg} (and {held} more like it before)"
        return True


class LineFormatter(logging.Formatter):
    """A line for people, which ends in the request's id unless its message has it."""

    def __init__(self) -> None:
        super().__init__(LINE, style="{")

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        request_id = current_request_id()
        if not request_id or request_id in record.message:
            return line
        return f"{line} [request {request_id}]"


class JsonFormatter(logging.Formatter):
    """A line of JSON. A traceback is in it, so a record is never more than one line.

    What is not known is left out; `fields` of a record are beside the others, and replace none.
    """

    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": _utc(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "node": self._node,
            "pid": os.getpid(),
        }
        if request_id := current_request_id():
            fields["request_id"] = request_id
        if (task := current_task()) is not None:
            fields |= {"task": task.name, "task_id": task.id}
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = self.formatException(record.exc_info)
        told = getattr(record, FIELDS, None)
        if isinstance(told, dict):
            fields |= {name: value for name, value in told.items() if name not in fields}
        return json.dumps(fields, default=str)


def _utc(created: float) -> str:
    moment = datetime.fromtimestamp(created, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
