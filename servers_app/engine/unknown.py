"""What a layer of run settings says that a build does not know: refused when it is saved."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.conf import settings as django_settings

from profiles_app.extraargs import Problem, flag_name
from servers_app.engine.capabilities import Capabilities
from servers_app.engine.dialect import current_name, given_flags, spelling
from servers_app.engine.elsewhere import EnginesByNode

_WHAT_TO_DO = "Take it off, or choose another engine."


def judge_settings(
    *, engine: str, values: Mapping[str, Any], nodes: Sequence[str] = (), **_kwargs: Any
) -> list[Problem]:
    """Receive profiles_app.engines.settings_are_judged.

    A node whose engine nobody here knows refuses nothing: the launch there will say so. What
    several nodes refuse is said once.
    """
    engines = EnginesByNode(nodes or [django_settings.MAGI_NODE])
    problems: dict[str, str] = {}
    for node in nodes or [django_settings.MAGI_NODE]:
        built = engines.on(node, engine)
        for place, sentence in unknown_settings(built.known, values) if built else ():
            is_here = node == django_settings.MAGI_NODE
            problems.setdefault(place, sentence if is_here else f"On node {node}: {sentence}")
    return list(problems.items())


def unknown_settings(known: Capabilities, values: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield where, in checked run settings, something is that a build cannot do, and what."""
    for name, value in values.items():
        if name == "extra_args":
            yield from _unknown_flags(known, value or ())
        elif spelling(known, name, value) is None:
            flag = "--" + name.replace("_", "-")
            older = f", and no older flag for {value}" if name == "load_mode" else ""
            yield name, f"{known} has no {flag}{older}. {_WHAT_TO_DO}"


def _unknown_flags(known: Capabilities, items: Sequence[str]) -> Iterator[Problem]:
    before = ""
    for index, flag, values in given_flags(known, items):
        place, name = f"extra_args[{index}]", current_name(known, flag)
        if known.has(name):
            yield from _wrong_values(known, place, name, values)
        elif not flag.startswith("-"):
            yield place, f"{known} takes no value after {before}. Take off {flag!r}."
        else:
            yield place, f"{known} has no {flag}{_nearest(known, flag)} {_WHAT_TO_DO}"
        before = " ".join([flag, *values])


def _wrong_values(
    known: Capabilities, place: str, flag: str, values: Sequence[str]
) -> Iterator[Problem]:
    is_short = len(values) < known.values_of(flag)
    if is_short or any(known.has(flag_name(value)) for value in values):
        yield place, f"{known} takes {flag} with a value: {known.flags[flag]}."


def _nearest(known: Capabilities, flag: str) -> str:
    near = difflib.get_close_matches(flag_name(flag), known.flags, n=1)
    return f"; did you mean {near[0]}?" if near else "."
