from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from servers_app.models import Node

MakeNode = Callable[..., Node]


@pytest.fixture
def make_node(db: None) -> MakeNode:
    """Return a function that saves a node that was heard of so many seconds ago."""

    def make(name: str, *, silent_s: float | None = 0, **fields: object) -> Node:
        node = Node.objects.create(name=name, **fields)
        if silent_s is not None:
            at = Now() - timedelta(seconds=silent_s)
            Node.objects.filter(pk=node.pk).update(heartbeat_at=at)
        return Node.objects.get(pk=node.pk)

    return make


@pytest.fixture
def here(make_node: MakeNode) -> Node:
    """The node that looks, which is there."""
    return make_node("local")
