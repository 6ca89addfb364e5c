"""What the calls of /api/admin answer, for the OpenAPI document.

What a part says of itself is left out where it did not answer in time.
"""

from typing import Any

from rest_framework import serializers

from magi_site.operations.component import Health
from magi_site.operations.endpoint_tests import Verdict
from magi_site.operations.settings_shown import DEFAULT, ENV_FILE, ENVIRONMENT
from models_app.api_schema import AcceptedSerializer
from models_app.task_schema import ScanReportSerializer
from servers_app.models import ServerState

Serializer = serializers.Serializer[Any]


class DiscoverySerializer(ScanReportSerializer):
    """A rescan's report."""

    message = serializers.CharField()
    scan_path = serializers.CharField(help_text="The enabled scan roots.")


# -- health


class ComponentSerializer(Serializer):
    status = serializers.ChoiceField(Health.choices)
    detail = serializers.CharField(help_text="How it is, in a sentence.")


class RegistryHealthSerializer(ComponentSerializer):
    models = serializers.IntegerField(required=False)
    missing = serializers.IntegerField(required=False, help_text="Without their files.")
    broken = serializers.IntegerField(required=False)


class FailingServerSerializer(Serializer):
    model_id = serializers.CharField()
    node = serializers.CharField()
    replica = serializers.IntegerField()
    state = serializers.ChoiceField(ServerState.choices)
    last_error = serializers.CharField(allow_null=True)


class ServersHealthSerializer(ComponentSerializer):
    """Of those that should run."""

    total = serializers.IntegerField(required=False)
    ready = serializers.IntegerField(required=False)
    starting = serializers.IntegerField(required=False)
    failing = FailingServerSerializer(many=True, required=False)


class ProfilesHealthSerializer(ComponentSerializer):
    profiles = serializers.IntegerField(required=False)
    active = serializers.CharField(required=False, allow_null=True)
    problems = serializers.ListField(child=serializers.CharField(), required=False)
    warnings = serializers.ListField(child=serializers.CharField(), required=False)


class RootHealthSerializer(Serializer):
    node = serializers.CharField()
    path = serializers.CharField()
    problem = serializers.CharField(allow_null=True)


class DiscoveryHealthSerializer(ComponentSerializer):
    roots = RootHealthSerializer(many=True, required=False)
    last_scan = serializers.DateTimeField(required=False, allow_null=True)
    last_scan_state = serializers.CharField(required=False, allow_null=True)


class QueueHealthSerializer(ComponentSerializer):
    latency_ms = serializers.FloatField(required=False, allow_null=True)
    waiting_tasks = serializers.IntegerField(
        required=False, allow_null=True, help_text="For the worker of this node."
    )


class DatabaseHealthSerializer(ComponentSerializer):
    vendor = serializers.CharField(required=False)
    latency_ms = serializers.FloatField(required=False)


class NodeHealthSerializer(Serializer):
    name = serializers.CharField()
    is_expected = serializers.BooleanField(
        help_text="Whether it is missed when it is away: a server should run there, or it has "
        "a scan root."
    )
    is_alive = serializers.BooleanField(help_text="By its heartbeat.")
    answers = serializers.BooleanField(
        allow_null=True, help_text="Its worker, just now. Null: nobody could ask."
    )
    heartbeat_at = serializers.DateTimeField(allow_null=True)
    heartbeat_age_seconds = serializers.FloatField(allow_null=True)


class NodesHealthSerializer(ComponentSerializer):
    total = serializers.IntegerField(required=False)
    working = serializers.IntegerField(required=False)
    nodes = NodeHealthSerializer(many=True, required=False)


class ComponentsSerializer(Serializer):
    registry = RegistryHealthSerializer()
    servers = ServersHealthSerializer()
    profiles = ProfilesHealthSerializer()
    discovery = DiscoveryHealthSerializer()
    queue = QueueHealthSerializer()
    database = DatabaseHealthSerializer()
    nodes = NodesHealthSerializer()


class HealthSerializer(Serializer):
    """How MAGI is: without its database, its queue or any node it is unavailable."""

    timestamp = serializers.DateTimeField()
    status = serializers.ChoiceField(Health.choices)
    detail = serializers.CharField(help_text="What those parts say that are not healthy.")
    components = ComponentsSerializer()


# -- tests of the endpoints


class EndpointTestSerializer(Serializer):
    name = serializers.CharField()
    endpoint = serializers.CharField(help_text="The path that was called.")
    method = serializers.ChoiceField(["GET", "OPTIONS"])
    status = serializers.ChoiceField(Verdict.choices)
    status_code = serializers.IntegerField(allow_null=True)
    time_ms = serializers.FloatField(allow_null=True)
    detail = serializers.CharField(help_text="What was seen.")


class EndpointTestsSerializer(Serializer):
    total = serializers.IntegerField()
    passed = serializers.IntegerField()
    failed = serializers.IntegerField()
    refused = serializers.IntegerField(help_text="What the caller may not see.")
    tests = EndpointTestSerializer(many=True)


# -- system info


class PythonSerializer(Serializer):
    version = serializers.CharField()
    implementation = serializers.CharField()
    executable = serializers.CharField(allow_null=True, help_text="For those who may manage.")
    packages = serializers.DictField(child=serializers.CharField(allow_null=True))


class SettingSerializer(Serializer):
    name = serializers.CharField(help_text="Its environment variable.")
    value = serializers.JSONField(help_text="In force; null where hidden.")
    is_hidden = serializers.BooleanField(
        help_text="A secret; or a path, which is for those who may manage."
    )
    origin = serializers.ChoiceField([ENVIRONMENT, ENV_FILE, DEFAULT])


class EnvironmentSerializer(Serializer):
    magi_version = serializers.CharField()
    system = serializers.CharField()
    release = serializers.CharField()
    machine = serializers.CharField()
    started_at = serializers.DateTimeField(help_text="This web process.")
    settings = SettingSerializer(many=True)


class ServiceSerializer(Serializer):
    is_available = serializers.BooleanField()
    problem = serializers.CharField(required=False, help_text="Of one that is not.")


class VersionedServiceSerializer(ServiceSerializer):
    vendor = serializers.CharField(required=False)
    version = serializers.CharField(required=False)


class WorkerSerializer(Serializer):
    name = serializers.CharField(help_text="Of the node.")
    address = serializers.CharField()
    is_alive = serializers.BooleanField()
    answers = serializers.BooleanField(allow_null=True)
    heartbeat_at = serializers.DateTimeField(allow_null=True)
    started_at = serializers.DateTimeField(allow_null=True)


class WorkersSerializer(ServiceSerializer):
    nodes = WorkerSerializer(many=True)


class EngineSerializer(Serializer):
    node = serializers.CharField()
    path = serializers.CharField(allow_null=True, help_text="For those who may manage.")
    version = serializers.CharField()
    build = serializers.IntegerField(allow_null=True)
    commit = serializers.CharField()
    devices = serializers.ListField(child=serializers.DictField())
    problem = serializers.CharField(allow_null=True, help_text="For those who may manage.")
    asked_at = serializers.DateTimeField()


class EnginesSerializer(ServiceSerializer):
    builds = EngineSerializer(many=True, required=False)


class ServicesSerializer(Serializer):
    database = VersionedServiceSerializer()
    redis = VersionedServiceSerializer()
    workers = WorkersSerializer()
    engines = EnginesSerializer()


class GpuSerializer(Serializer):
    name = serializers.CharField()
    total_bytes = serializers.IntegerField()
    free_bytes = serializers.IntegerField()
    used_bytes = serializers.IntegerField()
    vendor = serializers.CharField()
    driver = serializers.CharField()
    shares_memory = serializers.BooleanField(help_text="It takes the machine's, too.")


class DiskSerializer(Serializer):
    path = serializers.CharField(allow_null=True, help_text="For those who may manage.")
    total_bytes = serializers.IntegerField()
    free_bytes = serializers.IntegerField()
    kind = serializers.CharField(help_text="nvme, ssd, hdd, network, memory, or empty.")
    filesystem = serializers.CharField()
    scan_roots = serializers.ListField(
        child=serializers.CharField(), help_text="For those who may manage."
    )
    downloads = serializers.ListField(
        child=serializers.CharField(), help_text="For those who may manage."
    )


class HardwareSerializer(ServiceSerializer):
    """The machine of the web server; of the nodes, what they wrote last."""

    cpu = serializers.CharField(required=False)
    physical_cores = serializers.IntegerField(required=False)
    logical_cores = serializers.IntegerField(required=False)
    total_bytes = serializers.IntegerField(required=False)
    available_bytes = serializers.IntegerField(required=False)
    swap_total_bytes = serializers.IntegerField(required=False)
    swap_used_bytes = serializers.IntegerField(required=False)
    gpus = GpuSerializer(many=True, required=False)
    notes = serializers.ListField(child=serializers.CharField(), required=False)
    read_at = serializers.FloatField(required=False, help_text="Unix time, seconds.")
    cpu_flags = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="That matter to llama.cpp."
    )
    performance_cores = serializers.IntegerField(
        required=False, allow_null=True, help_text="Where others are slower."
    )
    cpu_limit = serializers.FloatField(
        required=False, allow_null=True, help_text="Processors that a limit leaves to MAGI."
    )
    numa_nodes = serializers.IntegerField(required=False)
    disks = DiskSerializer(many=True, required=False)
    disk_notes = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="For those who may manage."
    )
    memory_bandwidth_bytes_per_s = serializers.IntegerField(
        required=False, allow_null=True, help_text="As measured since the machine started."
    )
    memory_bandwidth_error_bytes_per_s = serializers.IntegerField(
        required=False, allow_null=True
    )
    memory_bandwidth_how = serializers.CharField(required=False, allow_blank=True)
    memory_bandwidth_at = serializers.FloatField(
        required=False, allow_null=True, help_text="Unix time, seconds."
    )
    nodes = serializers.DictField(child=serializers.DictField())
    devices = serializers.DictField(
        child=serializers.ListField(child=serializers.DictField()),
        help_text="By node, what its engines list.",
    )


class SystemInfoSerializer(Serializer):
    python = PythonSerializer()
    environment = EnvironmentSerializer()
    services = ServicesSerializer()
    hardware = HardwareSerializer()


# -- all servers


class NotDoneSerializer(Serializer):
    model_id = serializers.CharField()
    node = serializers.CharField()
    replica = serializers.IntegerField()
    detail = serializers.CharField()


class AllServersSerializer(Serializer):
    message = serializers.CharField()
    total_servers = serializers.IntegerField(help_text="Of which it was asked.")
    ready_servers = serializers.IntegerField(help_text="Of these, now.")
    failed = NotDoneSerializer(many=True)


class AllServersAcceptedSerializer(AcceptedSerializer, AllServersSerializer):
    """Some are on their way still."""
