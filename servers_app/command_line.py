"""The command line that a server is, or would be, run with on its node."""

from typing import NamedTuple

from django.conf import settings

from models_app.copies import as_on
from models_app.models import DiscoveredModel
from models_app.node_address import host_to_bind
from profiles_app.models import Profile
from profiles_app.resolution import settings_of
from servers_app.engine.argv import Argument, explain_argv
from servers_app.engine.binary import Engine, find_engine
from servers_app.engine.elsewhere import EnginesByNode
from servers_app.models import Node


class CommandLine(NamedTuple):
    arguments: list[Argument]
    engine: Engine
    note: str  # on a node that is not this one; empty here

    @property
    def argv(self) -> list[str]:
        parts = (part for each in self.arguments for part in (each.flag, each.value))
        return [part for part in parts if part is not None]


def command_line(
    model: DiscoveredModel, node: str, profile: Profile | None, port: int | None
) -> CommandLine:
    """Return what a server of `model` is given on a node, as that node would compile it.

    Where that node has not said which llama-server it has, it is compiled for this one's.

    Raises:
        EngineError: this node has no llama-server, or it cannot be asked what it can do.
        NotOnNodeError: that node has no files of the model.
    """
    name = profile.engine if profile else ""
    if node != settings.MAGI_NODE:
        row = Node.objects.filter(name=node).first()
        built = EnginesByNode([node]).on(node, name)
        if row is not None and built is not None:
            values = settings_of(model, profile, cores=row.facts.get("cores"))
            there = as_on(model, node)
            arguments = explain_argv(
                built.engine, there, port, values, host=row.address, known=built.known
            )
            note = f"It is run on node {node}, with the engine of that."
            return CommandLine(arguments, built.engine, note)
    engine = find_engine(name)
    values = settings_of(model, profile)
    arguments = explain_argv(engine, model, port, values, host=host_to_bind())
    is_here = node == settings.MAGI_NODE
    note = "" if is_here else f"It is run on node {node}, which may have another engine."
    return CommandLine(arguments, engine, note)
