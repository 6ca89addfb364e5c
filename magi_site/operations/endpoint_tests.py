"""Call each endpoint of the API, and say what came back."""

import asyncio
import contextvars
import json
import logging
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from django.db import models

from magi_site.operations.endpoints import Endpoint
from magi_site.operations.inner_calls import STREAM, Answer, Application, Caller, call

logger = logging.getLogger(__name__)

TIMEOUT_S: Final = 5.0  # of each call
AT_ONCE: Final = 4
MAX_TOLD: Final = 200  # characters of what an endpoint says
MAX_KEYS: Final = 8
_REFUSALS: Final = frozenset({401, 403, 429})


class Verdict(models.TextChoices):
    """Whether an endpoint does what it is there for; refused: this caller may not see."""

    PASSED = "passed", "Passed"
    FAILED = "failed", "Failed"
    REFUSED = "refused", "Refused"


class Seen(NamedTuple):
    endpoint: Endpoint
    verdict: Verdict
    detail: str
    status_code: int | None = None
    time_ms: float | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.endpoint.name,
            "endpoint": self.endpoint.path,
            "method": self.endpoint.method,
            "status": self.verdict.value,
            "status_code": self.status_code,
            "time_ms": self.time_ms,
            "detail": self.detail,
        }


def call_each(
    application: Application,
    caller: Caller,
    endpoints: Sequence[Endpoint],
    *,
    loop: asyncio.AbstractEventLoop,
) -> list[Seen]:
    """Call each endpoint with what the caller may, and return what was seen.

    Args:
        loop: the one that serves requests; the gateway answers in no other. It is not that
            of the calling thread, which waits here.
    """
    calls = _call_all(application, caller, endpoints)
    # In a context of its own: Django runs what a request's context calls in the thread of
    # that request.
    return contextvars.Context().run(asyncio.run_coroutine_threadsafe, calls, loop).result()


async def _call_all(
    application: Application, caller: Caller, endpoints: Sequence[Endpoint]
) -> list[Seen]:
    free = asyncio.Semaphore(AT_ONCE)

    async def see(endpoint: Endpoint) -> Seen:
        async with free:
            return await _see(application, caller, endpoint)

    return await asyncio.gather(*map(see, endpoints))


async def _see(application: Application, caller: Caller, endpoint: Endpoint) -> Seen:
    try:
        answer = await call(
            application, caller, endpoint.method, endpoint.path, timeout_s=TIMEOUT_S
        )
    except TimeoutError:
        detail = f"It did not answer within {TIMEOUT_S:g} s."
        return Seen(endpoint, Verdict.FAILED, detail)
    except Exception as error:
        logger.exception("%s %s could not be called", endpoint.method, endpoint.path)
        detail = f"It broke off ({type(error).__name__}); the web server's log says why."
        return Seen(endpoint, Verdict.FAILED, detail)
    verdict, detail = judge(answer)
    return Seen(
        endpoint, verdict, detail, answer.status or None, round(1000 * answer.seconds, 1)
    )


def judge(answer: Answer) -> tuple[Verdict, str]:
    """Return whether an answer is as it should be, and a sentence on it.

    A refusal that says why is as it should be: what was asked for may not be there.
    """
    if not answer.status:
        return Verdict.FAILED, "It ended without an answer."
    try:
        value = _json(answer)
    except ValueError as error:
        return Verdict.FAILED, f"What it calls JSON is none: {error}."
    if answer.status < 400:
        return Verdict.PASSED, _seen(answer, value)
    reason = _reason(value)
    if answer.status in _REFUSALS:
        return Verdict.REFUSED, reason or "It was refused, without a reason."
    if answer.status < 500 and reason:
        return Verdict.PASSED, reason
    return Verdict.FAILED, reason or "It says in no JSON why it does not answer."


def _json(answer: Answer) -> Any:
    """Return the body as JSON; None where it is something else, or only its beginning.

    Raises:
        ValueError: it is said to be JSON, and is not.
    """
    is_json = answer.media_type.endswith(b"json")
    if not is_json or answer.size_bytes != len(answer.body):
        return None
    return json.loads(answer.body, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> None:
    msg = f"there is {name} in it"
    raise ValueError(msg)


def _seen(answer: Answer, value: Any) -> str:
    size = f"{answer.size_bytes:,} bytes"
    if answer.media_type == STREAM:
        first = answer.body.decode(errors="replace").strip().partition("\n")[0]
        return f"A stream, which begins with {first[:MAX_TOLD]!r}."
    if isinstance(value, dict):
        keys = list(map(str, value))
        more = f" and {len(keys) - MAX_KEYS} more" if len(keys) > MAX_KEYS else ""
        names = ", ".join(keys[:MAX_KEYS])
        return (
            f"JSON with {names[:MAX_TOLD]}{more} ({size})." if keys else "An empty JSON object."
        )
    if isinstance(value, list):
        return f"A JSON list of {len(value)} ({size})."
    return f"{answer.media_type.decode(errors='replace') or 'Nothing'} ({size})."


def _reason(value: Any) -> str:
    """Return why a call was refused: as the REST API, OpenAI or the model manager say it."""
    if not isinstance(value, dict):
        return ""
    error = value.get("error")
    nested = error.get("message") if isinstance(error, dict) else error
    reason = value.get("detail") or nested or value.get("message")
    return str(reason)[:MAX_TOLD] if reason else ""
