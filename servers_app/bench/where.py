"""On which node a model is measured: the first of those that have it and are there."""

from models_app.copies import home_of, nodes_of
from models_app.models import DiscoveredModel
from servers_app.nodes import silent_nodes


def measuring_node(model: DiscoveredModel) -> str:
    """Return that node; the model's home, if none of them is there."""
    silent = silent_nodes()
    there = (node for node in nodes_of(model) if node not in silent)
    return next(there, home_of(model))
