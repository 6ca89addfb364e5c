"""Look at parts that may hang, and wait for none of them longer than so."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from django.db import connections

T = TypeVar("T")

_begun: dict[str, "Future[Any]"] = {}
_lock = threading.Lock()


def begin(name: str, look: Callable[[], T]) -> "Future[T]":
    """Have `look` run in a thread, or join the one of that name that runs already.

    So what hangs keeps one thread of the process, however often it is asked for.
    """
    with _lock:
        future = _begun.get(name)
        if future is None or future.done():
            future = Future()
            thread = threading.Thread(
                target=_run, args=(future, look), name=f"look-{name}", daemon=True
            )
            thread.start()
            _begun[name] = future  # after that: one that could not start is joined by nobody
    return future


def results(begun: Mapping[str, "Future[T]"], *, seconds: float) -> dict[str, T | Exception]:
    """Return what each look gave or raised; a TimeoutError where that took too long."""
    wait(begun.values(), timeout=seconds)
    found: dict[str, T | Exception] = {}
    for name, future in begun.items():
        try:
            found[name] = future.result(timeout=0)
        except Exception as error:  # whatever it is, it is told to who looks
            found[name] = error
    return found


def _run(future: "Future[T]", look: Callable[[], T]) -> None:
    try:
        try:
            result = look()
        finally:
            connections.close_all()
    except Exception as error:  # the thread has nobody to tell
        future.set_exception(error)
    else:
        future.set_result(result)
