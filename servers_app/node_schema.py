"""What the calls of nodes answer, for the OpenAPI document."""

from typing import Any, Final

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers

from models_app.api_schema import answer, errors
from servers_app.node_list import NodeState
from servers_app.serializers import ServerSerializer

TAGS: Final = ["Nodes"]


class NodeGpuSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(allow_null=True)
    total_bytes = serializers.IntegerField(allow_null=True)
    free_bytes = serializers.IntegerField(allow_null=True)


class NodeHardwareSerializer(serializers.Serializer[Any]):
    """What a node has, as it said last; nothing of one that never has."""

    cpu = serializers.CharField(required=False, allow_null=True)
    physical_cores = serializers.IntegerField(required=False, allow_null=True)
    logical_cores = serializers.IntegerField(required=False, allow_null=True)
    memory_bytes = serializers.IntegerField(required=False, allow_null=True)
    memory_available_bytes = serializers.IntegerField(required=False, allow_null=True)
    gpus = NodeGpuSerializer(many=True, required=False)
    disks_free_bytes = serializers.ListField(
        child=serializers.IntegerField(allow_null=True), required=False
    )


class NodeTaskSerializer(serializers.Serializer[Any]):
    """Tasks of one name, since its worker began."""

    done = serializers.IntegerField()
    failed = serializers.IntegerField()
    running = serializers.IntegerField()
    seconds = serializers.FloatField(help_text="Of the ended ones together.")


class NodeSerializer(serializers.Serializer[Any]):
    """A machine with a worker."""

    name = serializers.CharField()
    address = serializers.CharField(help_text="Where its servers are reached.")
    state = serializers.ChoiceField(NodeState.choices)
    is_cordoned = serializers.BooleanField(help_text="No server is placed on it.")
    heartbeat_at = serializers.DateTimeField(allow_null=True)
    heartbeat_age_seconds = serializers.FloatField(
        allow_null=True, help_text="By the database's clock. A node is silent after 20."
    )
    started_at = serializers.DateTimeField(allow_null=True, help_text="Its worker.")
    version = serializers.CharField(allow_null=True, help_text="Of MAGI there.")
    hardware = NodeHardwareSerializer()
    servers = serializers.DictField(
        child=serializers.IntegerField(), help_text="Those that run or should, by state."
    )
    models = serializers.IntegerField(help_text="Of which it has the files.")
    builds = serializers.ListField(child=serializers.CharField(), help_text="Of its engines.")
    tasks = serializers.DictField(child=NodeTaskSerializer(), help_text="By name.")
    warnings = serializers.ListField(child=serializers.CharField())


class NodeDetailSerializer(NodeSerializer):
    """A node, and its servers."""

    server_list = ServerSerializer(many=True)


class NodesSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    nodes = NodeSerializer(many=True)


_GIB: Final = 2**30
_NODE: Final = {
    "name": "box2",
    "address": "10.0.0.7",
    "state": "alive",
    "is_cordoned": False,
    "heartbeat_at": "2026-11-22T05:30:00Z",
    "heartbeat_age_seconds": 2.1,
    "started_at": "2026-11-21T20:00:00Z",
    "version": "0.9.0",
    "hardware": {
        "cpu": "AMD EPYC",
        "physical_cores": 16,
        "logical_cores": 32,
        "memory_bytes": 128 * _GIB,
        "memory_available_bytes": 90 * _GIB,
        "gpus": [{"name": "NVIDIA L4", "total_bytes": 24 * _GIB, "free_bytes": 20 * _GIB}],
        "disks_free_bytes": [500 * _GIB],
    },
    "servers": {"ready": 3},
    "models": 12,
    "builds": ["version: 11434 (1a2b3c4)"],
    "tasks": {
        "servers_app.tasks.reconcile": {
            "done": 7200,
            "failed": 0,
            "running": 0,
            "seconds": 91.5,
        }
    },
    "warnings": [],
}
_NOT_FOUND: Final = {404: "Node not found: box9. Available: box1, box2."}
NAME: Final = OpenApiParameter("name", OpenApiTypes.STR, OpenApiParameter.PATH)

LIST: Final = extend_schema(
    operation_id="list_nodes",
    summary="The nodes, and how each is",
    tags=TAGS,
    responses={200: answer(NodesSerializer, {"count": 1, "nodes": [_NODE]})},
)
SHOW: Final = extend_schema(
    operation_id="show_node",
    summary="A node, with its servers",
    tags=TAGS,
    parameters=[NAME],
    responses={
        200: answer(NodeDetailSerializer, {**_NODE, "server_list": []}),
        **errors(_NOT_FOUND),
    },
)
CORDON: Final = extend_schema(
    operation_id="cordon_node",
    summary="Place no new servers on a node",
    description="Its servers stay, and are started there again when they end. Servers that "
    "are asked for from now on go to other nodes.",
    tags=TAGS,
    parameters=[NAME],
    request=None,
    responses={
        200: answer(
            NodeDetailSerializer,
            {**_NODE, "state": "cordoned", "is_cordoned": True, "server_list": []},
        ),
        **errors(_NOT_FOUND),
    },
)
UNCORDON: Final = extend_schema(
    operation_id="uncordon_node",
    summary="Place servers on a node again",
    tags=TAGS,
    parameters=[NAME],
    request=None,
    responses={
        200: answer(NodeDetailSerializer, {**_NODE, "server_list": []}),
        **errors(_NOT_FOUND),
    },
)
