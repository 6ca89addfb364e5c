"""How each build of llama-server spells a setting: flags come, go, and change what they take.

Source: `--help` of builds 6000 to 11434, and the brackets of builds in which each change
fell. A build is never judged by its number, which distributions do not tell.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from profiles_app.extraargs import flag_name, is_flag
from profiles_app.runsettings import FIELDS, adapters
from servers_app.engine.capabilities import Capabilities

MOST_LAYERS: Final = "999"  # than any model has; builds that do not know `all` take it

# What becomes of a server is watched there, and nobody else is to reach it.
_ALWAYS: Final = (
    (("--slots", None),),
    (("--metrics", None),),
    (("--no-ui", None), ("--no-webui", None)),
    (("--cors-origins", "localhost"),),
)
# Before --load-mode. mmap was the default.
_LOAD_MODES: Final = {
    "none": ("--no-mmap",),
    "mmap": (),
    "mlock": ("--no-mmap", "--mlock"),
    "mmap+mlock": ("--mlock",),
    "dio": ("--direct-io",),
}
# Names of one flag, the newest first. A build has one of them, or calls the others removed.
_RENAMED: Final = (
    ("--spec-draft-n-max", "--draft-max", "--draft-n", "--draft"),
    ("--spec-draft-n-min", "--draft-min", "--draft-n-min"),
    ("--spec-draft-p-min", "--draft-p-min"),
    ("--spec-draft-p-split", "--draft-p-split"),
    ("--spec-draft-ngl", "--n-gpu-layers-draft", "--gpu-layers-draft", "-ngld"),
    ("--spec-draft-device", "--device-draft", "-devd"),
    ("--spec-draft-threads", "--threads-draft", "-td"),
    ("--spec-draft-type-k", "--cache-type-k-draft", "-ctkd"),
    ("--spec-draft-type-v", "--cache-type-v-draft", "-ctvd"),
    ("--checkpoint-min-step", "-cms", "--checkpoint-every-n-tokens", "-cpent"),
    ("--ui", "--webui"),
    ("--no-ui", "--no-webui"),
)
_SAME: Final = {name: names for names in _RENAMED for name in names}


class Part(NamedTuple):
    """A flag with its value, or a further value of the flag before."""

    flag: str
    value: str | None = None
    note: str = ""


Spelling: TypeAlias = list[Part] | None


def always(known: Capabilities) -> Iterator[Part]:
    """Yield the flags that every server is given, as far as its build has them."""
    for spellings in _ALWAYS:
        for flag, value in spellings:
            if known.has(flag):
                yield Part(flag, value)
                break


def spell(known: Capabilities, values: Mapping[str, Any]) -> Iterator[tuple[str, Part]]:
    """Yield the flags of resolved settings, each with the name of its setting.

    What the build cannot say is left out, but for `extra_args`, which come last of all, so
    that none of them swallows a flag of ours.

    Args:
        values: of every setting; `mmproj` is a path, or empty.
    """
    for name in FIELDS:
        value = values[name]
        for part in spelling(known, name, value) or ():
            yield name, part
        if name == "model_draft" and value and _wants_a_type(known, values["extra_args"]):
            yield name, Part("--spec-type", "draft-simple")


def _wants_a_type(known: Capabilities, extra_args: Sequence[str]) -> bool:
    # Without a type, builds of 2026 load a draft model and never ask it
    # (https://github.com/ggml-org/llama.cpp/issues/25345).
    return known.takes_word("--spec-type", "draft-simple") and "--spec-type" not in map(
        flag_name, extra_args
    )


def spelling(known: Capabilities, name: str, value: Any) -> Spelling:
    """Return how a build says one setting: no parts where it does so by itself.

    None is for what it cannot do, or has no flag for.
    """
    if is_left_to_llama_server(name, value):
        return []
    if (by_build := _BY_BUILD.get(name)) is not None:
        return by_build(known, value)
    return _plainly(known, "--" + name.replace("_", "-"), str(value))


def is_left_to_llama_server(name: str, value: Any) -> bool:
    if name == "mmproj" and value == "none":
        return True
    return value is None or value is False or value in ("auto", "", [])


def _plainly(known: Capabilities, flag: str, value: str | None) -> Spelling:
    return [Part(flag, value)] if known.has(flag) else None


def _n_gpu_layers(known: Capabilities, value: int | str) -> Spelling:
    if value == "all" and not known.takes_word("--n-gpu-layers", "all"):
        return [Part("--n-gpu-layers", MOST_LAYERS, "all: this build takes a number")]
    return _plainly(known, "--n-gpu-layers", str(value))


def _flash_attn(known: Capabilities, value: str) -> Spelling:
    if not known.has("--flash-attn") or known.takes_value("--flash-attn"):
        return _plainly(known, "--flash-attn", value)
    # Builds before 6325 have it off until they are asked.
    asked = Part("--flash-attn", None, "on: this build takes no value")
    return [asked] if value == "on" else []


def _load_mode(known: Capabilities, mode: str) -> Spelling:
    if known.has("--load-mode"):
        return [Part("--load-mode", mode)]
    flags = _LOAD_MODES[mode]
    if not known.has("--mlock", *flags):  # one that has neither these nor --load-mode
        return None
    return [Part(flag, None, f"{mode}: this build says {' '.join(flags)}") for flag in flags]


def _kv_unified(known: Capabilities, _value: object) -> Spelling:
    return _plainly(known, "--kv-unified", None)


def _jinja(known: Capabilities, value: str) -> Spelling:
    if value == "on":
        return _plainly(known, "--jinja", None)
    # Builds without --no-jinja have it off until they are asked.
    return _plainly(known, "--no-jinja", None) or []


def _lora(known: Capabilities, lora: Sequence[str | Mapping[str, Any]]) -> Spelling:
    """Spell all adapters in one flag where a second one takes the place of the first."""
    if not known.has("--lora", "--lora-scaled"):
        return None
    loras = adapters(lora)
    is_scaled = any(adapter.scale != 1 for adapter in loras)
    flag = "--lora-scaled" if is_scaled else "--lora"
    if "," in known.flags["--lora-scaled"]:  # FNAME:SCALE,...
        items = [f"{path}:{scale}" if is_scaled else path for path, scale in loras]
        return [Part(flag, ",".join(items))]
    note = "this build takes one adapter a flag"
    parts: list[Part] = []
    for path, scale in loras:
        parts.append(Part(flag, path, note))
        if is_scaled:
            parts.append(Part(str(scale), None, note))
    return parts


# -- flags that a person gives


class Given(NamedTuple):
    """A flag among `extra_args`, with what follows it there."""

    place: int  # counted from 0
    flag: str
    values: Sequence[str]


def given_flags(known: Capabilities, items: Sequence[str]) -> Iterator[Given]:
    """Yield the flags with their values, as this build takes them apart.

    Of a flag that it does not have, what follows and is no flag is the value. A value
    without a flag comes as a flag: llama-server sees it so.
    """
    place = 0
    while place < len(items):
        flag, rest = items[place], items[place + 1 :]
        name = current_name(known, flag)
        if known.has(name):
            count = known.values_of(name)
        else:
            count = int(is_flag(flag) and bool(rest) and not is_flag(rest[0]))
        yield Given(place, flag, rest[:count])
        place += 1 + count


def current_name(known: Capabilities, flag: str) -> str:
    """Return what this build calls a flag; the flag itself if it has none of its names."""
    name = flag_name(flag)
    if known.has(name):
        return name
    return next(filter(known.has, _SAME.get(name, ())), name)


def _extra_args(known: Capabilities, items: Sequence[str]) -> list[Part]:
    parts: list[Part] = []
    for _, flag, values in given_flags(known, items):
        name = current_name(known, flag)
        is_renamed = name != flag_name(flag)
        note = f"{flag}: this build says {name}" if is_renamed else ""
        if not known.has(name):
            note = "this build does not list it"
        parts.append(Part(name if is_renamed else flag, next(iter(values), None), note))
        parts += [Part(value, None, note) for value in values[1:]]
    return parts


_BY_BUILD: Final[Mapping[str, Callable[[Capabilities, Any], Spelling]]] = {
    "n_gpu_layers": _n_gpu_layers,
    "flash_attn": _flash_attn,
    "load_mode": _load_mode,
    "kv_unified": _kv_unified,
    "jinja": _jinja,
    "lora": _lora,
    "extra_args": _extra_args,
}
