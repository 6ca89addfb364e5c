"""A profile as plain values: what the API's JSON has, and a YAML file in nested form.

    name, description, extends, enabled_models, tier_config, two_stage, load_balancing,
    routing, lifecycle, queue, memory, placement, preset, engine, run_settings

No limit is None here and in JSON, and `.inf` in YAML. A model is its id, or a mapping where
there is more to say of it: `{model_id, tier, replicas, aliases, nodes, run_settings}`.
"""

import math
from collections.abc import Mapping
from typing import Any

from profiles_app.variables import keep_variables

Document = dict[str, Any]

OWN = ("name", "description", "extends")  # never inherited
LISTS = ("enabled_models", "tier_config")  # inherited as a whole, or not
MAPPINGS = (
    "two_stage", "load_balancing", "routing", "lifecycle", "queue", "memory", "placement",
    "run_settings",
)  # fmt: skip
SECTIONS = (*OWN, *LISTS, *MAPPINGS[:-1], "preset", "engine", "run_settings")
# What is written of a profile that says nothing of it, because people look for it.
ALWAYS_WRITTEN = ("enabled_models", "tier_config", "two_stage", "load_balancing")


def flat(data: Mapping[str, Any]) -> Document:
    """Lift what stands under `profile:` to the top, where the flat form has it.

    >>> flat({"profile": {"name": "A"}, "enabled_models": []})
    {'enabled_models': [], 'name': 'A'}
    """
    nested = data.get("profile")
    rest = {key: value for key, value in data.items() if key != "profile"}
    return {**rest, **nested} if isinstance(nested, dict) else dict(data)


def merge(parent: Mapping[str, Any], own: Mapping[str, Any]) -> Document:
    """Return what `own` says, and what `parent` has where it says nothing."""
    merged = {key: value for key, value in parent.items() if key not in OWN}
    for key, value in own.items():
        inherited = parent.get(key)
        if key in MAPPINGS and isinstance(value, dict) and isinstance(inherited, dict):
            merged[key] = {**inherited, **value}
        else:
            merged[key] = value
    return merged


def written(
    new: Mapping[str, Any],
    *,
    base: Mapping[str, Any],
    before: Mapping[str, Any] | None = None,
    text: Mapping[str, Any] | None = None,
) -> Document:
    """Return the shortest document that comes to `new`, in the nested form of a file.

    Args:
        base: what is inherited: the parent's document, or the defaults.
        before: what the profile was, if its text is to be kept where nothing changes.
        text: that text, read; with its `${VARIABLES}` as they stand there.
    """
    old = flat(text or {})
    sections: Document = {}
    for key in SECTIONS:
        value = new.get(key)
        if key in old and before is not None and before.get(key) == value:
            sections[key] = old[key]
        elif key in OWN:
            if value:
                sections[key] = value
        elif value != base.get(key) or key in old:
            sections[key] = _section(key, value, base, old, before or {})
        elif key in ALWAYS_WRITTEN and not old and not new.get("extends"):
            sections[key] = _section(key, value, {}, old, {})
    if old and not (text or {}).get("profile"):
        return sections  # it was flat, and stays so
    own = {key: sections.pop(key) for key in OWN if key in sections}
    extends = own.pop("extends", None)
    return {"profile": own, **({"extends": extends} if extends else {}), **sections}


def _section(
    key: str,
    value: Any,
    base: Mapping[str, Any],
    old: Mapping[str, Any],
    before: Mapping[str, Any],
) -> Any:
    if key in MAPPINGS and isinstance(value, dict):
        inherited = base.get(key) or {}
        gone = {name: None for name in inherited if name not in value}
        value = {k: v for k, v in value.items() if k not in inherited or inherited[k] != v}
        value |= gone
        if key == "routing" and value.get("cold_wait_seconds", 0) is None:
            value["cold_wait_seconds"] = math.inf
    elif key == "tier_config":
        value = [_tier(tier) for tier in value]
    return keep_variables(old[key], before.get(key), value) if key in old else value


def _tier(tier: Mapping[str, Any]) -> dict[str, Any]:
    limit = tier["max_score"]
    shown = {**tier, "max_score": math.inf if limit is None else limit}
    return {key: value for key, value in shown.items() if value != ""}


def changes(old: Mapping[str, Any], new: Mapping[str, Any], where: str = "") -> list[str]:
    """Return what differs, a line for each value: `two_stage.enabled: false → true`."""
    lines = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        place = f"{where}.{key}" if where else key
        if isinstance(before, dict) and isinstance(after, dict):
            lines += changes(before, after, place)
        elif key == "enabled_models":
            lines += _list_changes(place, before or [], after or [])
        else:
            lines.append(f"{place}: {_shown(before)} → {_shown(after)}")
    return lines


def _list_changes(place: str, before: list[Any], after: list[Any]) -> list[str]:
    lines = [f"{place}: - {_shown(item)}" for item in before if item not in after]
    lines += [f"{place}: + {_shown(item)}" for item in after if item not in before]
    return lines or [f"{place}: in another order"]


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_shown(v)}" for k, v in value.items()) + "}"
    return str(value)
