"""System checks of the engine and the ports."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from servers_app.engine.binary import Engine, find_engine
from servers_app.engine.builds import ask_version
from servers_app.errors import EngineError

FIRST_UNPRIVILEGED_PORT = 1024


@register()
def check_engine(**_kwargs: Any) -> list[CheckMessage]:
    """There is a llama-server to launch, and LLAMA_SERVER_PATH names one if it is set."""
    try:
        engine = find_engine()
    except EngineError as error:
        hint = "Set LLAMA_SERVER_PATH to a llama-server, or to `embedded`."
        return [Error(str(error), hint=hint, id="servers_app.E003")]
    return _check_build(engine)


@register()
def check_builds(**_kwargs: Any) -> list[CheckMessage]:
    """What LLAMA_SERVER_BUILDS names can be run: only profiles that choose it need it."""
    messages: list[CheckMessage] = []
    for name in settings.LLAMA_SERVER_BUILDS:
        try:
            messages += _check_build(find_engine(name))
        except EngineError as error:
            hint = f"Until then no profile with `engine: {name}` runs."
            messages.append(Warning(str(error), hint=hint, id="servers_app.W002"))
    return messages


def _check_build(engine: Engine) -> list[CheckMessage]:
    """Ask for the version alone: that takes 10 ms, and every command of ours does it."""
    if engine.is_embedded:  # as new as requirements.txt has it
        return []
    try:
        version = ask_version(engine)
    except EngineError as error:
        hint = "Run it by hand: nothing is launched with it before it answers."
        return [Warning(str(error), hint=hint, id="servers_app.W003")]
    if version.warning:
        hint = "Only load GGUF files that you trust until then."
        message = f"{engine}: {version.warning}"
        return [Warning(message, hint=hint, id="servers_app.W004")]
    return []


@register()
def check_ports(**_kwargs: Any) -> list[CheckMessage]:
    """The range of ports holds ports, and ones that a user may bind."""
    start, end = settings.MODEL_PORT_RANGE_START, settings.MODEL_PORT_RANGE_END
    if start > end:
        hint = "Both ends are included; the guide's range is 8080 to 8099."
        message = f"MODEL_PORT_RANGE_START={start} is above MODEL_PORT_RANGE_END={end}."
        return [Error(message, hint=hint, id="servers_app.E001")]
    messages: list[CheckMessage] = []
    if start < FIRST_UNPRIVILEGED_PORT:
        message = f"MODEL_PORT_RANGE_START={start} is a privileged port."
        hint = f"Use {FIRST_UNPRIVILEGED_PORT} or higher, so that MAGI need not run as root."
        messages.append(Error(message, hint=hint, id="servers_app.E002"))
    if start <= settings.MAGI_PORT <= end:
        message = f"MAGI_PORT={settings.MAGI_PORT} lies in the range of the llama-servers."
        hint = "Move MAGI_PORT, or MODEL_PORT_RANGE_START and MODEL_PORT_RANGE_END."
        messages.append(Warning(message, hint=hint, id="servers_app.W001"))
    return messages
