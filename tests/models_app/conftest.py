"""Fixtures that more than one module of these tests uses."""

from tests.models_app.hubs.fixtures import hub, node_folders, registry

__all__ = ["hub", "node_folders", "registry"]
