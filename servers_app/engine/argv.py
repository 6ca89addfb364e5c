"""The command line of one llama-server. The only module that gives it flags.

A setting's flag is its name with hyphens; what llama-server takes in another way is below.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from models_app.models import DiscoveredModel, ModelKind
from profiles_app.extraargs import flag_name, is_flag
from profiles_app.resolution import projector_path
from profiles_app.runsettings import FIELDS, MAGI, Adapter, Setting, adapters
from servers_app.engine.binary import Engine
from servers_app.ports import LOOPBACK

NO_PORT_YET = "PORT"

_SERVES = {ModelKind.EMBEDDING: "--embeddings", ModelKind.RERANKER: "--reranking"}


class Argument(NamedTuple):
    """One flag of a command line, and who says so."""

    flag: str
    value: str | None = None  # None where the flag is all
    origin: str = MAGI
    note: str = ""


def server_argv(
    engine: Engine, model: DiscoveredModel, port: int, settings: Mapping[str, Setting]
) -> list[str]:
    """Return the argv that serves `model` on loopback at `port`, from resolved settings.

    Host, port, context, alias and slots are always given, because newer builds read them
    from configuration files otherwise; what is left to llama-server is not, so that every
    build takes the rest. No key: argv can be read by every user of the machine.
    """
    return [
        part
        for argument in explain_argv(engine, model, port, settings)
        for part in (argument.flag, argument.value)
        if part is not None
    ]


def explain_argv(
    engine: Engine, model: DiscoveredModel, port: int | None, settings: Mapping[str, Setting]
) -> list[Argument]:
    """Return what `server_argv` is made of, the program first.

    Args:
        port: None if none has been claimed yet; NO_PORT_YET stands in its place.
    """
    return [
        *(Argument(part) for part in engine.command),
        Argument("--model", model.file_path),
        Argument("--alias", model.model_id),
        Argument("--host", LOOPBACK),
        Argument("--port", NO_PORT_YET if port is None else str(port)),
        *(Argument(flag) for kind, flag in _SERVES.items() if kind == model.kind),
        *(
            Argument(flag, value, settings[name].origin, settings[name].note)
            for name in FIELDS
            for flag, value in _spelled(name, settings, model)
        ),
    ]


def _spelled(
    name: str, settings: Mapping[str, Setting], model: DiscoveredModel
) -> Iterator[tuple[str, str | None]]:
    """Yield a setting's flags, none where it is left to llama-server."""
    value = settings[name].value
    flag = "--" + name.replace("_", "-")
    match name:
        case "mmproj":
            if path := projector_path(model, settings):
                yield flag, path
        case "lora":
            yield from _lora(adapters(value))
        case "extra_args":
            yield from _extra_args(value)
        case _ if value is None or value is False or value == "auto":
            return
        case "kv_unified":
            yield flag, None
        case "jinja":
            yield ("--no-jinja" if value == "off" else flag), None
        case "model_draft":
            yield flag, value
            # Without a type, builds of 2026 load a draft model and never ask it
            # (https://github.com/ggml-org/llama.cpp/issues/25345).
            if "--spec-type" not in map(flag_name, settings["extra_args"].value):
                yield "--spec-type", "draft-simple"
        case _:
            yield flag, str(value)


def _lora(loras: Sequence[Adapter]) -> Iterator[tuple[str, str]]:
    """Yield one flag for all adapters: a second one will take the place of the first."""
    if any(adapter.scale != 1 for adapter in loras):
        yield "--lora-scaled", ",".join(f"{item.path}:{item.scale}" for item in loras)
    elif loras:
        yield "--lora", ",".join(adapter.path for adapter in loras)


def _extra_args(items: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yield flags with their values. Last of all, so that none swallows a flag of ours."""
    rest = deque(items)
    while rest:
        item = rest.popleft()
        has_value = is_flag(item) and rest and not is_flag(rest[0])
        yield item, rest.popleft() if has_value else None
