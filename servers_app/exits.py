"""Say how a llama-server ended, by its exit status and its log, in words for a person."""

import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from servers_app.exit_rules import LESS_MEMORY, RULES, Cause, Rule
from servers_app.printable import printable

__all__ = ["Cause", "Ending", "explain"]

MAX_LOG_CHARS = 64 * 1024  # from the end; a server says why it ends when it does
MAX_LINE_CHARS = 1000
MAX_QUOTED_CHARS = 300

STOPPING: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
SHELL_SIGNAL_BASE: Final = 128  # a shell's status for a program that a signal ended, less it
CANNOT_RUN: Final = frozenset({126, 127})  # a shell's for one that it could not run

# M.SS.mmm.uuu L, of builds since 2026; earlier ones have no such thing.
_LEVEL: Final = re.compile(r"^\d+(?:\.\d+){3} (?P<level>[A-Z]) +")
_RECOVERED: Final = re.compile(
    r"retrying without pipeline parallelism|fit params to free device memory|fitting without it"
    r"|failed to get memory usage of mmproj|listening on http|starting the main loop"
)
_ABORT: Final = re.compile(r"GGML_ASSERT|what\(\):|: fatal error|(?:CUDA|ROCm) error")
_FILE: Final = re.compile(
    r"^error: '(.+)': invalid magic|failed to load (?:draft )?model,? '(.+)'"
    r"|failed to load lora adapter '(.+)'|failed to load model from (.+)$"
)

_WHILE_SERVING: Final = frozenset(
    {Cause.OUT_OF_DEVICE_MEMORY, Cause.OUT_OF_MEMORY, Cause.STOPPED}
)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a server ended: what happened and what to do, in a sentence or two."""

    cause: Cause
    sentence: str
    is_permanent: bool  # to try again, with nothing changed, would end in the same way


def explain(
    returncode: int, log: str, *, oom_kills: int = 0, was_ready: bool = False
) -> Ending:
    """Return how a server ended that MAGI had not told to.

    Args:
        returncode: a negative one is a signal's number; a shell's 128 and more are
            understood, too.
        log: what this launch wrote, of any size and with anything in it.
        oom_kills: how many processes of its cgroup the kernel killed while it ran.
        was_ready: it had served; then no flag and no file of its is the reason.
    """
    number = _signal_number(returncode)
    if number == signal.SIGKILL:
        return _killed(oom_kills)
    if number == signal.SIGILL:
        return _OTHER_CPU
    if returncode == 0 or number in STOPPING:
        return _stopped(returncode, number, was_ready=was_ready)
    lines = _lines(log)
    telling = _without_recovered(lines)
    rules = [rule for rule in RULES if not was_ready or rule.cause in _WHILE_SERVING]
    errors = [line for line in telling if _is_error(line)]
    for rule in rules:
        for index, line in enumerate(errors):
            if match := rule.pattern.search(line):
                return _as_ruled(rule, match, errors[index:])
    line = _most_telling(telling, errors)
    if number is not None:
        return _crashed(number, _quoted(line))
    return _otherwise(returncode, _quoted(line or (lines[-1] if lines else "")))


def _signal_number(returncode: int) -> int | None:
    if returncode < 0:
        return -returncode
    number = returncode - SHELL_SIGNAL_BASE
    return number if number in signal.valid_signals() else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


# -- by the status alone


_OTHER_CPU: Final = Ending(
    Cause.ILLEGAL_INSTRUCTION,
    "llama-server was built for another CPU: it met an instruction that this one does not "
    "have (SIGILL). Use a build for this machine, or set LLAMA_SERVER_PATH=embedded.",
    is_permanent=True,
)


def _killed(oom_kills: int) -> Ending:
    if oom_kills:
        return Ending(
            Cause.OOM_KILLED,
            "The kernel killed llama-server, because the machine or its cgroup had no memory "
            f"left. {LESS_MEMORY}",
            is_permanent=False,
        )
    return Ending(
        Cause.KILLED,
        "llama-server was killed (SIGKILL), and not by MAGI. If nobody did that, see whether "
        "the kernel did for want of memory: dmesg | grep -i oom.",
        is_permanent=False,
    )


def _stopped(returncode: int, number: int | None, *, was_ready: bool) -> Ending:
    how = "with code 0" if number is None else f"by {_signal_name(number)}"
    sentence = f"llama-server was stopped {how}, and not by MAGI. Start it if it is wanted."
    if returncode == 0 and not was_ready:
        sentence = (
            "llama-server ended with code 0 before it was ready: somebody stopped it, or a "
            "flag in extra_args, such as --version, has it answer and end."
        )
    return Ending(Cause.STOPPED, sentence, is_permanent=False)


def _crashed(number: int, quoted: str) -> Ending:
    sentence = f"llama-server crashed ({_signal_name(number)})"
    sentence += f": {quoted}." if quoted else ", and its log does not say why."
    if number == signal.SIGBUS:
        sentence += " Its model file was cut or replaced while in use, or its disk has failed."
    else:
        sentence += " If it does so again, try another build of llama-server."
    return Ending(Cause.CRASHED, sentence, is_permanent=False)


def _otherwise(returncode: int, quoted: str) -> Ending:
    if not quoted:
        return Ending(
            Cause.SILENT,
            f"llama-server ended with code {returncode} and said nothing. Run its command in "
            "a terminal to see why.",
            is_permanent=False,
        )
    is_permanent = returncode in CANNOT_RUN
    sentence = f"llama-server ended with code {returncode}: {quoted}."
    return Ending(Cause.OTHER, sentence, is_permanent)


# -- by the log


def _lines(log: str) -> list[str]:
    """Return the last lines that say something, fit to be shown."""
    shown = (printable(line, MAX_LINE_CHARS) for line in log[-MAX_LOG_CHARS:].splitlines())
    return [line.strip() for line in shown if line.strip()]


def _without_recovered(lines: Sequence[str]) -> list[str]:
    """Return the lines after the last failure that llama-server says it got over."""
    for index in range(len(lines) - 1, -1, -1):
        if _RECOVERED.search(lines[index]):
            return list(lines[index + 1 :])
    return list(lines)


def _is_error(line: str) -> bool:
    """Whether a line may tell of a failure: one without a level may."""
    level = _LEVEL.match(line)
    return level["level"] == "E" if level else not line.lower().startswith("warn")


def _most_telling(lines: Sequence[str], errors: Sequence[str]) -> str:
    """Return the line that best tells of an end that no rule knows; the first is the cause."""
    levelled = (line for line in lines if _LEVEL.match(line) and _is_error(line))
    abort = (line for line in errors if _ABORT.search(line))
    return next(abort, "") or next(levelled, "") or (errors[-1] if errors else "")


def _as_ruled(rule: Rule, match: re.Match[str], lines: Sequence[str]) -> Ending:
    values = {
        **match.groupdict(default=""),
        "file": match.groupdict().get("file") or next(_files(lines), "the model's"),
        "line": lines[0],
    }
    quoted = {name: _quoted(text) for name, text in values.items()}
    return Ending(rule.cause, rule.sentence.format_map(quoted), rule.is_permanent)


def _files(lines: Sequence[str]) -> Iterator[str]:
    """Yield the files that `lines` name, as one that failed to load."""
    for line in lines:
        if match := _FILE.search(line):
            yield next(filter(None, match.groups()))


def _quoted(line: str) -> str:
    """Return the message of a line, without what the log puts before it."""
    message = _LEVEL.sub("", line).rstrip(" .")
    return printable(message, MAX_QUOTED_CHARS)
