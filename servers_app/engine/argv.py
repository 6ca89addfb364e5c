"""The command line of one llama-server, compiled for the build that is given it."""

from collections.abc import Mapping
from typing import NamedTuple

from models_app.models import DiscoveredModel, ModelKind
from profiles_app.resolution import projector_path
from profiles_app.runsettings import MAGI, Setting
from servers_app.engine import dialect
from servers_app.engine.binary import Engine
from servers_app.engine.builds import capabilities
from servers_app.engine.capabilities import Capabilities
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
    engine: Engine,
    model: DiscoveredModel,
    port: int,
    settings: Mapping[str, Setting],
    *,
    host: str = LOOPBACK,
    known: Capabilities | None = None,
) -> list[str]:
    """Return the argv that serves `model` at `host` and `port`, from resolved settings.

    Host, port, context, alias and slots are always given, because newer builds read them
    from configuration files otherwise. What is left to llama-server is not. No key: argv
    can be read by every user of the machine.

    Args:
        known: what the engine can do, if it is another node's and cannot be asked here.

    Raises:
        EngineError: the engine cannot be asked what it can do.
    """
    return [
        part
        for argument in explain_argv(engine, model, port, settings, host=host, known=known)
        for part in (argument.flag, argument.value)
        if part is not None
    ]


def explain_argv(
    engine: Engine,
    model: DiscoveredModel,
    port: int | None,
    settings: Mapping[str, Setting],
    *,
    host: str = LOOPBACK,
    known: Capabilities | None = None,
) -> list[Argument]:
    """Return what `server_argv` is made of, the program first.

    Args:
        port: None if none has been claimed yet; NO_PORT_YET stands in its place.
        known: as server_argv.

    Raises:
        EngineError: the engine cannot be asked what it can do.
    """
    known = known or capabilities(engine)
    values = {name: setting.value for name, setting in settings.items()}
    values["mmproj"] = projector_path(model, settings)
    return [
        *(Argument(part) for part in engine.command),
        Argument("--model", model.file_path),
        Argument("--alias", model.model_id),
        Argument("--host", host),
        Argument("--port", NO_PORT_YET if port is None else str(port)),
        *(Argument(flag) for kind, flag in _SERVES.items() if kind == model.kind),
        *(Argument(part.flag, part.value) for part in dialect.always(known)),
        *(_argument(part, settings[name]) for name, part in dialect.spell(known, values)),
    ]


def _argument(part: dialect.Part, setting: Setting) -> Argument:
    note = "; ".join(filter(None, (setting.note, part.note)))
    return Argument(part.flag, part.value, setting.origin, note)
