"""llama-server's run settings: which there are, what each may be, and whose word counts.

A layer holds only what somebody set, under the flag's name with underscores. Flags, types
and bounds: `llama-server --help` and common/arg.cpp of llama.cpp, build 11434.
"""

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias, TypeGuard

from models_app.memory import CACHE_TYPES
from profiles_app.extraargs import UNPRINTABLE, Problem, judge_extra_args

MAGI: Final = "MAGI"  # the origin of what no layer says
MAX_TOKENS: Final = 10_000_000
MAX_INT: Final = 2**31 - 1  # llama-server reads a C int
MAX_THREADS: Final = 512  # GGML_MAX_N_THREADS
MAX_PARALLEL: Final = 64
MAX_ADAPTERS: Final = 16
MAX_SCALE: Final = 100
MAX_PATH_CHARS: Final = 1024
MAX_NAME_CHARS: Final = 64  # of a name nobody knows

Judge: TypeAlias = Callable[[object], Iterator[Problem]]

_LORA_SYNTAX = re.compile('[,:"]')


class Field(NamedTuple):
    """One setting: what MAGI gives by itself, and what is wrong with a value of a person's.

    None and "auto" leave a setting to llama-server.
    """

    base: Any
    judge: Judge


@dataclass(frozen=True, slots=True)
class Setting:
    """What a setting came to, the layer that said so, and what became of what it said."""

    value: Any
    origin: str
    note: str = ""


class Adapter(NamedTuple):
    """A LoRA adapter, and how much of it is added to the weights."""

    path: str
    scale: float


def adapters(lora: Sequence[str | Mapping[str, Any]]) -> list[Adapter]:
    """Return the adapters of a checked `lora`, in whichever way each was written."""
    return [
        Adapter(item, 1.0)
        if isinstance(item, str)
        else Adapter(item["path"], item.get("scale", 1.0))
        for item in lora
    ]


# -- what a value may be


def _whole(low: int, high: int, *words: str) -> Judge:
    def judge(value: object) -> Iterator[Problem]:
        is_whole = (
            isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        )
        if not is_whole and not _is_one_of(words, value):
            yield "", f"Give {' or '.join((f'a whole number from {low} to {high}', *words))}."

    return judge


def _word(*words: str) -> Judge:
    def judge(value: object) -> Iterator[Problem]:
        if not _is_one_of(words, value):
            yield "", f"Give one of: {', '.join(words)}."

    return judge


def _truth(value: object) -> Iterator[Problem]:
    if not isinstance(value, bool):
        yield "", "Give true or false."


def _path(*words: str) -> Judge:
    def judge(value: object) -> Iterator[Problem]:
        if not _is_gguf_path(value) and not _is_one_of(words, value):
            yield "", f"Give {' or '.join(('the absolute path of a .gguf file', *words))}."

    return judge


def _lora(value: object) -> Iterator[Problem]:
    if not isinstance(value, list) or len(value) > MAX_ADAPTERS:
        yield "", f"Give a list of at most {MAX_ADAPTERS} adapters."
        return
    for index, item in enumerate(value):
        for place, sentence in _adapter(item):
            yield f"[{index}]{place}", sentence


def _adapter(value: object) -> Iterator[Problem]:
    given = value if isinstance(value, Mapping) else {"path": value}
    for key in given:
        if key not in Adapter._fields:
            yield f".{_shown(key)}", _unknown(key, Adapter._fields)
    path, scale = given.get("path"), given.get("scale", 1.0)
    # llama-server takes several in one value, and separates them by these.
    if not _is_gguf_path(path) or _LORA_SYNTAX.search(path):
        yield "", 'Give the absolute path of a .gguf file, without , : or ", or path and scale.'
    if not _is_scale(scale):
        yield ".scale", f"Give a number from 0 to {MAX_SCALE}."


def _is_one_of(words: Sequence[str], value: object) -> bool:
    return isinstance(value, str) and value in words


def _is_scale(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value <= MAX_SCALE  # NaN is not


def _is_gguf_path(value: object) -> TypeGuard[str]:
    return (
        isinstance(value, str)
        and value.startswith("/")
        and value.lower().endswith(".gguf")
        and len(value) <= MAX_PATH_CHARS
        and not UNPRINTABLE.search(value)
    )


# -- the settings


# The guide's values (seed 000, Phase 4); what it does not say is left to llama-server.
FIELDS: Final = {
    "ctx_size": Field(32768, _whole(0, MAX_TOKENS)),
    "n_gpu_layers": Field(99, _whole(0, MAX_INT, "auto", "all")),
    "threads": Field(8, _whole(1, MAX_THREADS)),
    "threads_batch": Field(None, _whole(1, MAX_THREADS)),
    "batch_size": Field(512, _whole(1, MAX_TOKENS)),
    "ubatch_size": Field(256, _whole(1, MAX_TOKENS)),
    "parallel": Field(1, _whole(1, MAX_PARALLEL)),
    "kv_unified": Field(base=False, judge=_truth),
    "flash_attn": Field("auto", _word("on", "off", "auto")),
    "cache_type_k": Field(None, _word(*CACHE_TYPES)),
    "cache_type_v": Field(None, _word(*CACHE_TYPES)),
    "load_mode": Field("auto", _word("auto", "none", "mmap", "mlock", "mmap+mlock", "dio")),
    "mmproj": Field("auto", _path("auto", "none")),
    "lora": Field([], _lora),
    "model_draft": Field(None, _path()),
    "jinja": Field("auto", _word("auto", "on", "off")),
    "extra_args": Field([], judge_extra_args),
}
_SWITCHES = ("flash_attn", "jinja")  # YAML makes truth values of their on and off


def check(
    values: object, *, allowed_args: Collection[str] = frozenset()
) -> tuple[dict[str, Any], list[Problem]]:
    """Return the values of one layer that can be used, and all that is wrong with the rest.

    Null is a value: it takes off what a layer below says. Files are not looked for: they
    may be on another machine.

    Args:
        allowed_args: flags of `extra_args` that are refused otherwise.
    """
    if not isinstance(values, Mapping):
        return {}, [("", "Run settings are a mapping of names to values.")]
    given: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, value in values.items():
        if name not in FIELDS:
            problems.append((_shown(name), _unknown(name, FIELDS)))
            continue
        if name in _SWITCHES and isinstance(value, bool):
            value = "on" if value else "off"  # noqa: PLW2901 - what was meant
        judge = FIELDS[name].judge
        if name == "extra_args":
            judge = partial(judge_extra_args, allowed=allowed_args)
        found = [] if value is None else list(judge(value))
        problems += [(f"{name}{place}", sentence) for place, sentence in found]
        if not found:
            given[name] = value
    for name, sentence in list(_contradictions(given)):
        problems.append((name, sentence))
        del given[name]
    return given, problems


def _contradictions(given: Mapping[str, Any]) -> Iterator[Problem]:
    batch, ubatch = given.get("batch_size"), given.get("ubatch_size")
    if batch is not None and ubatch is not None and ubatch > batch:
        yield "ubatch_size", f"Give no more than batch_size, {batch}."
    if given.get("flash_attn") == "off" and _is_quantized(given.get("cache_type_v")):
        yield "cache_type_v", "A quantized V cache needs flash_attn: give f32, f16 or bf16."


def _is_quantized(cache_type: str | None) -> bool:
    return cache_type is not None and CACHE_TYPES[cache_type].block_elements > 1


def _unknown(key: object, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(_shown(key), known, n=1)
    if near:
        return f"Unknown; did you mean {near[0]}?"
    return f"Unknown; known are {', '.join(known)}."


def _shown(key: object) -> str:
    # Not any key: an int of more than 4,300 digits cannot be written.
    return key[:MAX_NAME_CHARS] if isinstance(key, str) else f"({type(key).__name__})"


# -- whose word counts


def resolve(
    layers: Sequence[tuple[str, Mapping[str, Any]]],
    *,
    model_context: int | None,
    cores: int,
    allowed_args: Collection[str] = frozenset(),
) -> dict[str, Setting]:
    """Return every setting, as the last of the named `layers` that says it has it.

    What `check` refuses in a layer counts for nothing: what is launched has been checked,
    however it came into the database. No value is raised by what it is held against.

    Args:
        model_context: tokens the model was trained for; None when nobody knows.
        cores: of the machine that runs it. One is left to everything else: llama.cpp's
            threads spin while they wait for each other, and with every core taken one
            other busy process makes generation thirty times slower (measured on two).
    """
    settings = {name: Setting(field.base, MAGI) for name, field in FIELDS.items()}
    for origin, values in layers:
        given, problems = check(values, allowed_args=allowed_args)
        for place, sentence in problems:
            name = re.split(r"[.\[]", place)[0]
            if name in FIELDS:
                note = f"what {origin} says is left out: {sentence}"
                settings[name] = replace(settings[name], note=note)
        for name, value in given.items():
            settings[name] = _overridden(settings[name], Setting(value, origin), name)
    return {**settings, **_held_against(settings, model_context=model_context, cores=cores)}


def _overridden(below: Setting, above: Setting, name: str) -> Setting:
    if above.value is not None:
        return above
    is_said = below.origin != MAGI
    note = f"{above.origin} takes off what {below.origin} says" if is_said else ""
    return Setting(FIELDS[name].base, MAGI, note)


def _held_against(
    settings: Mapping[str, Setting], *, model_context: int | None, cores: int
) -> dict[str, Setting]:
    """Return those settings that the machine, the model or another setting may lower."""
    held = {}
    for name in ("threads", "threads_batch"):
        why = f"one core of {cores} is left to everything else"
        held[name] = _lowered(settings[name], max(1, cores - 1), why)
    batch = settings["batch_size"].value
    held["ubatch_size"] = _lowered(settings["ubatch_size"], batch, f"batch_size is {batch}")
    held["ctx_size"] = _ctx_size(settings, model_context)
    cache_type = settings["cache_type_v"]
    if settings["flash_attn"].value == "off" and _is_quantized(cache_type.value):
        why = f"{cache_type.value} asked for; it needs flash_attn"  # the load would fail
        held["cache_type_v"] = _noted(replace(cache_type, value=None), why)
    return held


def _ctx_size(settings: Mapping[str, Setting], model_context: int | None) -> Setting:
    """Return the context of all slots together; a slot uses no more than the model knows."""
    slots: int = settings["parallel"].value
    setting = settings["ctx_size"]
    if model_context:
        each = f" in each of {slots} slots" if slots > 1 else ""
        why = f"the model was trained for {model_context}{each}"
        setting = _lowered(setting, model_context * slots, why)
        if setting.value == 0:
            setting = _noted(setting, f"the model's own {model_context}")
    tokens = setting.value or model_context
    if tokens and slots > 1 and not settings["kv_unified"].value:
        setting = _noted(setting, f"{tokens // slots} for each of {slots} slots")
    return setting


def _lowered(setting: Setting, limit: int, why: str) -> Setting:
    if setting.value is None or setting.value <= limit:
        return setting
    return _noted(replace(setting, value=limit), f"{setting.value} asked for; {why}")


def _noted(setting: Setting, note: str) -> Setting:
    return replace(setting, note="; ".join(filter(None, (setting.note, note))))
