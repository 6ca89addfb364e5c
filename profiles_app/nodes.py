"""Which nodes a profile lets a model run on, and whether there are such nodes.

Only servers_app knows which nodes have a worker, and this app may not import it: it listens.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

from django.conf import settings
from django.dispatch import Signal

from models_app.copies import home_of, nodes_of_all
from models_app.models import DiscoveredModel, ScanRoot
from profiles_app.models import Placement

MAX_NAMED: Final = 10

Path: TypeAlias = tuple[str | int, ...]
Found: TypeAlias = tuple[bool, Path, str]  # whether it is an error, where, what

# Sent without anything. A receiver returns the names of nodes that have, or had, a worker.
nodes_are_asked = Signal()


def known_nodes() -> list[str]:
    """Return the names of all nodes: this machine, those with a worker or a scan root."""
    names = {settings.MAGI_NODE, *ScanRoot.objects.values_list("node", flat=True).distinct()}
    for _, heard in nodes_are_asked.send(None):
        names.update(cast("list[str]", heard))
    return sorted(names)


def allowed(member: Sequence[str], profile: Sequence[str]) -> Sequence[str]:
    """Return the nodes that a member may run on, the first ones first; none for every node.

    >>> allowed([], ["big", "small"])
    ['big', 'small']
    """
    return member or profile


def may_run_on(
    nodes: Sequence[str], member: Sequence[str], profile: Sequence[str]
) -> tuple[str, ...]:
    """Return those of `nodes`, which have a model's files, that its profile allows."""
    named = allowed(member, profile)
    return tuple(node for node in nodes if not named or node in named)


def launchable_on(models: Collection[DiscoveredModel]) -> dict[int, tuple[str, ...]]:
    """Return by primary key the nodes whose files of the models can be launched, home first.

    It costs one query; the models come with their roots.
    """
    there = nodes_of_all(models)
    return {
        model.pk: tuple(
            node for node in there[model.pk] if not (model.problem and node == home_of(model))
        )
        for model in models
    }


def nodes_of_members(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return for each member of a document the nodes that would run it; two queries."""
    members = [
        {"model_id": member} if isinstance(member, str) else member
        for member in document["enabled_models"]
    ]
    ids = [member["model_id"] for member in members]
    rows = DiscoveredModel.objects.select_related("root")
    here = rows.in_bulk(ids, field_name="model_id")
    there = launchable_on(here.values())
    named = document["placement"]["nodes"]
    return [
        may_run_on(there[here[model_id].pk], member.get("nodes", ()), named)
        if model_id in here
        else ()
        for model_id, member in zip(ids, members, strict=True)
    ]


def placement_findings(
    placement: Mapping[str, Any],
    members: Sequence[Mapping[str, Any]],
    nodes_of: Mapping[str, Sequence[str]],
) -> Iterator[Found]:
    """Yield what is wrong with the nodes that a profile names.

    Args:
        nodes_of: by the ids of the models that are here, the nodes with their files.
    """
    named: list[tuple[Path, str]] = [
        (("placement", "nodes", place), node) for place, node in enumerate(placement["nodes"])
    ]
    for index, member in enumerate(members):
        path: Path = ("enabled_models", index, "nodes")
        named += [((*path, place), node) for place, node in enumerate(member.get("nodes", ()))]
        there = nodes_of.get(member["model_id"], ())
        if there and not may_run_on(there, member.get("nodes", ()), placement["nodes"]):
            may = ", ".join(allowed(member.get("nodes", ()), placement["nodes"]))
            where = path if member.get("nodes") else path[:2]
            yield (
                True,
                where,
                (
                    f"{member['model_id']} may run on {may} alone, and its files are on "
                    f"{', '.join(there)}. Copy it, or allow another node."
                ),
            )
    if named:
        known = known_nodes()
        for path, node in named:
            if node not in known:
                yield False, path, _unknown(node, known)
    elif placement["rule"] == Placement.PIN:
        message = "Servers are pinned to the nodes that are named, and none is: name them."
        yield False, ("placement", "rule"), message


def _unknown(node: str, known: Sequence[str]) -> str:
    shown = ", ".join(known[:MAX_NAMED])
    more = f" and {len(known) - MAX_NAMED} more" if len(known) > MAX_NAMED else ""
    return f"No node is called {node}, as far as is known here. Known: {shown}{more}."
