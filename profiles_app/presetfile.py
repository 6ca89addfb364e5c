"""Read and write presets as TOML, in the shape of gemma-cli's config.toml.

Two of its tables are ours: a `performance_profiles.NAME` is a sampling preset, and a
`model_presets.NAME` is a model preset. `default_model` stands at the top, or under `[model]`.
Every other table is somebody else's, and is left alone.

What a value may be stands here once, for files, for services and for the admin.
"""

import difflib
import json
import os
import re
import tomllib
import unicodedata
from collections.abc import Callable, Collection, Mapping
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from profiles_app.errors import PresetFileError, Problem

SAMPLING_TABLE = "performance_profiles"
MODEL_TABLE = "model_presets"
MAX_FILE_BYTES = 256 * 1024
# tomllib's memory grows with the square of a dotted key: one of 240 KB wants 50 GB.
MAX_DOTS_A_LINE = 200
MAX_MODEL_NAME = 100  # characters
MAX_STOPS = 4
MAX_STOP = 64  # characters
FORMATS = ("sfp", "bf16", "f32", "nuq")  # of gemma.cpp's weights
QUALITIES = ("high", "medium", "fast")

_MAX_INTEGER = 2**31 - 1  # PostgreSQL's integer
_MAX_FIGURE = 1_000_000  # GB, or tokens per second
_SHOWN = 40  # characters of a value or a name in a message
_SAMPLING_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}  # control characters, surrogates, line separators
_WHOLE_IF_IT_CAN = ("avg_tokens_per_sec", "min_ram_gb")  # gemma-cli reads integers here

Check = Callable[[Any], str]  # says what is wrong with a value; nothing if all is well


class Field(NamedTuple):
    check: Check
    default: Any


@dataclass(frozen=True, slots=True)
class Presets:
    """What a file holds. Each preset has all fields: those it does not name are defaults."""

    sampling: dict[str, dict[str, Any]] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    default_model: str | None = None
    ignored: tuple[str, ...] = ()  # top-level keys that are not ours


def _number(low: float, high: float, *, is_whole: bool = False) -> Check:
    def check(value: Any) -> str:
        kinds = int if is_whole else int | float
        if isinstance(value, bool) or not isinstance(value, kinds):
            return f"{_shown(value)} is not a {'whole ' if is_whole else ''}number"
        # Put so that nan is wrong, too.
        return "" if low <= value <= high else f"{_shown(value)} is not {low} to {high}"

    return check


def _text(longest: int) -> Check:
    def check(value: Any) -> str:
        if isinstance(value, str):
            return _text_problem(value, longest)
        return f"{_shown(value)} is not text"

    return check


def _choice(*choices: str, is_needed: bool = False) -> Check:
    allowed = choices if is_needed else ("", *choices)

    def check(value: Any) -> str:
        is_known = isinstance(value, str) and value in allowed
        return "" if is_known else f"{_shown(value)} is none of {', '.join(choices)}"

    return check


def _stops(value: Any) -> str:
    if not isinstance(value, list):
        return f"{_shown(value)} is not a list of texts"
    if len(value) > MAX_STOPS:
        return f"{len(value)} texts; at most {MAX_STOPS}"
    for position, text in enumerate(value, start=1):
        if not isinstance(text, str) or not 1 <= len(text) <= MAX_STOP:
            return f"item {position} is not a text of 1 to {MAX_STOP} characters"
        # Line breaks are wanted here. No database has the other two.
        if any(letter == "\0" or unicodedata.category(letter) == "Cs" for letter in text):
            return f"item {position} holds a character that cannot be kept"
    return ""


SAMPLING_FIELDS = {
    "max_tokens": Field(_number(1, _MAX_INTEGER, is_whole=True), None),
    "temperature": Field(_number(0, 2), None),
    "top_p": Field(_number(0, 1), None),
    "top_k": Field(_number(0, _MAX_INTEGER, is_whole=True), None),
    "min_p": Field(_number(0, 1), None),
    "repeat_penalty": Field(_number(0, 10), None),
    "seed": Field(_number(-1, 2**32 - 1, is_whole=True), None),
    "stop": Field(_stops, []),
    "thinking": Field(_choice("show", "hide", is_needed=True), "show"),
    "description": Field(_text(300), ""),
    "use_case": Field(_text(200), ""),
}
MODEL_FIELDS = {
    "weights": Field(_text(1024), ""),
    "tokenizer": Field(_text(1024), ""),
    "format": Field(_text(32), ""),
    "size_gb": Field(_number(0, _MAX_FIGURE), None),
    "avg_tokens_per_sec": Field(_number(0, _MAX_FIGURE), None),
    "quality": Field(_choice(*QUALITIES), ""),
    "use_case": Field(_text(300), ""),
    "context_length": Field(_number(1, _MAX_INTEGER, is_whole=True), 8192),
    "min_ram_gb": Field(_number(0, _MAX_FIGURE), None),
}


def check_sampling(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Return every field of a sampling preset, and what is wrong by the name of its field.

    What is None or not named is at its default; what is wrong, too.
    """
    return _checked(SAMPLING_FIELDS, values)


def check_model(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Do for a model preset what check_sampling does. No path is looked at."""
    checked, problems = _checked(MODEL_FIELDS, values)
    named = {problem.path for problem in problems}
    weights = checked["weights"].strip()
    if not weights and "weights" not in named:
        problems.append(Problem(None, "weights", "is missing"))
    is_gemma = weights.lower().endswith(".sbs")
    if is_gemma and (reason := _choice(*FORMATS)(checked["format"])):
        problems.append(Problem(None, "format", reason))
    return checked, problems


def sampling_name_problem(name: str) -> str:
    """Say what is wrong with a sampling preset's name; nothing if all is well."""
    if _SAMPLING_NAME.fullmatch(name):
        return ""
    return "a name is 1 to 64 letters, digits, - and _"


def model_name_problem(name: str) -> str:
    """Say what is wrong with a model preset's name; nothing if all is well."""
    if not name.strip():
        return "the name is empty"
    if name != name.strip():
        return "the name begins or ends with a space"
    problem = _text_problem(name, MAX_MODEL_NAME)
    return f"the name {problem}" if problem else ""


def twin_of(name: str, names: Collection[str]) -> str:
    """Return the one of `names` that differs from `name` only in case, else nothing."""
    folded = name.casefold()
    return next((n for n in names if n != name and n.casefold() == folded), "")


def read_preset_file(
    path: Path, *, known_sampling: Collection[str] = (), known_models: Collection[str] = ()
) -> Presets:
    """Return what is ours in the TOML file `path`.

    Args:
        known_sampling: names that there are already, as `known_models`: a name that
            differs from one of them only in case is refused.

    Raises:
        PresetFileError: it cannot be read, is too large, is not UTF-8 or not TOML, or
            holds what no preset may hold. It lists every problem.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _refusal(path, f"cannot be read: {error.strerror}") from error
    document = _document(path, raw)
    problems: list[Problem] = []
    presets = Presets(
        sampling=_table(document, SAMPLING_TABLE, known_sampling, problems),
        models=_table(document, MODEL_TABLE, known_models, problems),
        default_model=_default_model(document, known_models, problems),
        ignored=tuple(name for name in document if not _is_ours(document, name)),
    )
    if problems:
        raise PresetFileError(path.name, problems)
    if len(presets.ignored) == len(document) > 0:
        raise _refusal(path, f"has neither {SAMPLING_TABLE} nor {MODEL_TABLE}")
    return presets


def presets_as_toml(presets: Presets) -> str:
    """Return the text of a file of these presets, without the fields that are empty."""
    document: dict[str, Any] = {}
    if presets.default_model is not None:
        document["default_model"] = presets.default_model
    for table, entries in ((SAMPLING_TABLE, presets.sampling), (MODEL_TABLE, presets.models)):
        if entries:
            document[table] = {name: _written(values) for name, values in entries.items()}
    return tomli_w.dumps(document)


def write_preset_file(path: Path, text: str, *, is_overwriting: bool = False) -> None:
    """Write all of `text`, or leave `path` as it was.

    Raises:
        FileExistsError: there is a file, and `is_overwriting` is not set.
        OSError: it cannot be written.
    """
    target = Path(os.path.realpath(path))  # a symbolic link stays one
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if is_overwriting:
            temporary.replace(target)
        else:
            target.hardlink_to(temporary)  # unlike a rename, it takes no file's place
    finally:
        temporary.unlink(missing_ok=True)


def _document(path: Path, raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_FILE_BYTES:
        raise _refusal(path, f"is larger than {MAX_FILE_BYTES} bytes")
    try:
        text = raw.decode("utf-8-sig")  # Windows' editors put a mark at the beginning
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _refusal(path, f"is not UTF-8 (at line {line})") from error
    for number, line_text in enumerate(text.split("\n"), start=1):
        if line_text.count(".") > MAX_DOTS_A_LINE:
            raise _refusal(path, f"has more than {MAX_DOTS_A_LINE} dots (at line {number})")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise _refusal(path, "is nested too deeply") from error
    except tomllib.TOMLDecodeError as error:
        raise _refusal(path, f"is not TOML: {error}") from error
    except ValueError as error:  # a number of thousands of digits
        raise _refusal(path, "holds a number or a date that cannot be") from error


def _table(
    document: dict[str, Any], table: str, known: Collection[str], problems: list[Problem]
) -> dict[str, dict[str, Any]]:
    entries = document.get(table, {})
    if not isinstance(entries, dict):
        problems.append(Problem(None, table, f"{_shown(entries)} is not a table"))
        return {}
    is_sampling = table == SAMPLING_TABLE
    name_problem = sampling_name_problem if is_sampling else model_name_problem
    check = check_sampling if is_sampling else check_model
    found: dict[str, dict[str, Any]] = {}
    by_folded = {name.casefold(): name for name in known}
    for name, values in entries.items():
        place = f"{table}.{_key(name)}"
        if problem := name_problem(name):
            problems.append(Problem(None, place, problem))
        if (twin := by_folded.setdefault(name.casefold(), name)) != name:
            reason = f"differs only in case from {_shown(twin)}"
            problems.append(Problem(None, place, reason))
        if not isinstance(values, dict):
            problems.append(Problem(None, place, f"{_shown(values)} is not a table"))
            continue
        found[name], wrong = check(values)
        problems += [p._replace(path=f"{place}.{p.path}") for p in wrong]
    return found


def _checked(
    fields: dict[str, Field], values: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Problem]]:
    checked = {name: copy(known.default) for name, known in fields.items()}
    problems = []
    for name, value in values.items():
        if name not in fields:
            problems.append(Problem(None, _key(name), _unknown(name, value, list(fields))))
        elif value is not None:
            if reason := fields[name].check(value):
                problems.append(Problem(None, name, reason))
            else:
                checked[name] = value
    return checked, problems


def _unknown(name: str, value: Any, known: list[str]) -> str:
    if isinstance(value, dict):
        return "is a table; a preset's name that has dots is quoted"
    near = difflib.get_close_matches(name[:_SHOWN].lower(), known, n=1)
    return (
        f"unknown; did you mean {near[0]}?"
        if near
        else f"unknown; known are {', '.join(known)}"
    )


def _default_model(
    document: dict[str, Any], known: Collection[str], problems: list[Problem]
) -> str | None:
    below = document.get("model")
    places = {"default_model": document, "model.default_model": below}
    named = {
        place: table["default_model"]
        for place, table in places.items()
        if isinstance(table, dict) and "default_model" in table
    }
    ours = document.get(MODEL_TABLE)
    there = {*(ours if isinstance(ours, dict) else ()), *known}
    for place, name in named.items():
        if not isinstance(name, str):
            problems.append(Problem(None, place, f"{_shown(name)} is not text"))
        elif name not in there:
            near = difflib.get_close_matches(name[:MAX_MODEL_NAME], there, n=1)
            hint = f"; did you mean {_shown(near[0])}?" if near else ""
            reason = f"{_shown(name)} is no model of this file or of MAGI{hint}"
            problems.append(Problem(None, place, reason))
    names = list(named.values())
    if len(names) == len(places) and names[0] != names[1]:
        problems.append(Problem(None, "model.default_model", "is not the default_model above"))
    return names[0] if names else None


def _is_ours(document: dict[str, Any], name: str) -> bool:
    if name == "model":
        table = document[name]
        return isinstance(table, dict) and set(table) == {"default_model"}
    return name in {SAMPLING_TABLE, MODEL_TABLE, "default_model"}


def _written(values: dict[str, Any]) -> dict[str, Any]:
    written = {key: value for key, value in values.items() if value not in (None, "", [])}
    if written.get("thinking") == SAMPLING_FIELDS["thinking"].default:
        del written["thinking"]  # gemma-cli does not know it
    for key in _WHOLE_IF_IT_CAN:
        if key in written and float(written[key]).is_integer():
            written[key] = int(written[key])
    return written


def _refusal(path: Path, reason: str) -> PresetFileError:
    return PresetFileError(path.name, [Problem(None, "", reason)])


def _text_problem(text: str, longest: int) -> str:
    if len(text) > longest:
        return f"has {len(text)} characters; at most {longest}"
    if any(unicodedata.category(letter) in _UNPRINTABLE for letter in text):
        return "holds a line break or a control character"
    return ""


def _key(name: str) -> str:
    """Return `name` as TOML has it in a key, and short.

    >>> _key("gemma2.5")
    '"gemma2.5"'
    """
    return name if len(name) <= _SHOWN and _BARE_KEY.fullmatch(name) else _shown(name)


def _shown(value: Any) -> str:
    """Return a value as the file has it, in one short line."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            short = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"
            is_plain = not _text_problem(short, _SHOWN + 1)
            return json.dumps(short, ensure_ascii=not is_plain)
        case int() if value.bit_length() > 64:  # too many digits raise a ValueError
            return f"a number of {value.bit_length()} bits"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return str(value)
