"""llama-server processes: what is wanted of each, what is, and what happened."""

from datetime import timedelta
from typing import ClassVar

from django.db import models
from django.db.models import ExpressionWrapper, F, Q
from django.db.models.functions import Now
from django.utils import timezone

from models_app.models import DiscoveredModel
from servers_app.apikey_models import ApiKey  # noqa: F401 - for Django
from servers_app.benchmark_models import Benchmark  # noqa: F401 - for Django
from servers_app.comparison_models import Comparison  # noqa: F401 - for Django
from servers_app.manager_models import CurrentModel  # noqa: F401 - for Django
from servers_app.request_models import RequestRecord, UsageDay, UsageMinute  # noqa: F401

SILENCE = timedelta(seconds=20)  # a node says every five that it is there


class Wanted(models.TextChoices):
    """What people, profiles and the gateway ask for."""

    RUNNING = "running", "Running"
    STOPPED = "stopped", "Stopped"


class ServerState(models.TextChoices):
    """Where a server is in its life. Only the supervisor writes it.

    STOPPED -> STARTING -> READY <-> UNHEALTHY -> STOPPING -> STOPPED
    and any of the middle ones -> FAILED -> STARTING, when the restart policy has it or
    somebody asks again.
    """

    STOPPED = "stopped", "Stopped"
    STARTING = "starting", "Starting"
    READY = "ready", "Ready"
    UNHEALTHY = "unhealthy", "Unhealthy"
    STOPPING = "stopping", "Stopping"
    FAILED = "failed", "Failed"


RUNNING = (
    ServerState.STARTING,
    ServerState.READY,
    ServerState.UNHEALTHY,
    ServerState.STOPPING,
)


class Server(models.Model):
    """One llama-server, running or not: a replica of one model on one node."""

    model = models.ForeignKey(DiscoveredModel, on_delete=models.PROTECT, related_name="servers")
    node = models.CharField(max_length=100)
    replica = models.PositiveSmallIntegerField(default=0, help_text="Counted from 0.")
    wanted = models.CharField(max_length=8, choices=Wanted, default=Wanted.STOPPED)
    state = models.CharField(max_length=10, choices=ServerState, default=ServerState.STOPPED)
    port = models.PositiveIntegerField(null=True, blank=True, help_text="TCP.")
    on_request = models.BooleanField(
        default=False, help_text="The first request starts it, when it is wanted stopped."
    )
    asked_by = models.CharField(
        max_length=150, blank=True, help_text="Who said last what is wanted."
    )
    asked_why = models.CharField(max_length=300, blank=True)

    # Who the process is: a pid is believed only together with its start time and boot.
    pid = models.PositiveIntegerField(null=True, blank=True)
    pid_started_at = models.FloatField(null=True, blank=True, help_text="Unix time, seconds.")
    keeper_pid = models.PositiveIntegerField(null=True, blank=True)
    keeper_started_at = models.FloatField(
        null=True, blank=True, help_text="Unix time, seconds."
    )
    boot_id = models.CharField(max_length=64, blank=True)
    argv = models.JSONField(default=list, blank=True)
    engine = models.CharField(
        max_length=1000, blank=True, help_text="The program, or `embedded llama.cpp`."
    )
    build = models.CharField(max_length=100, blank=True, help_text="As it says itself.")
    facts = models.JSONField(
        default=dict, blank=True, help_text="What it came to: n_ctx, total_slots, modalities."
    )

    requested_at = models.DateTimeField(null=True, blank=True)
    restart_requested_at = models.DateTimeField(null=True, blank=True)
    launched_at = models.DateTimeField(null=True, blank=True)
    ready_at = models.DateTimeField(null=True, blank=True)
    drain_until = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Until when requests in flight may take, of one that is to stop.",
    )
    stopped_at = models.DateTimeField(null=True, blank=True)
    state_since = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(
        null=True, blank=True, help_text="When the gateway last gave it a request."
    )
    health_at = models.DateTimeField(null=True, blank=True, help_text="When last asked.")
    progressed_at = models.DateTimeField(
        null=True, blank=True, help_text="When work in hand was last seen to move."
    )
    load_progress = models.FloatField(null=True, blank=True, help_text="0 to 1.")
    exit_code = models.IntegerField(null=True, blank=True, help_text="Negative: a signal.")
    restarts = models.PositiveIntegerField(default=0, help_text="That nobody asked for.")
    failed_at = models.JSONField(
        default=list, blank=True, help_text="Unix times of the last failures in a row."
    )
    next_start_at = models.DateTimeField(
        null=True, blank=True, help_text="Of one that failed. Empty: not by itself."
    )
    last_error = models.TextField(blank=True)
    log_tail = models.TextField(blank=True, help_text="The last lines before it ended.")
    note = models.CharField(max_length=300, blank=True, help_text="What it waits for.")
    unreachable_since = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When its silent node was last heard of: its state is of then.",
    )

    memory_mib = models.PositiveIntegerField(
        null=True, blank=True, help_text="MiB that were counted for it at its launch."
    )
    peak_mib = models.PositiveIntegerField(
        null=True, blank=True, help_text="MiB that it has been seen to take."
    )

    class Meta:
        ordering = ["model__model_id", "node", "replica"]
        constraints = [
            models.UniqueConstraint(
                fields=["model", "node", "replica"], name="server_model_node_replica_unique"
            ),
            models.CheckConstraint(
                condition=Q(state__in=ServerState.values), name="server_state_known"
            ),
            models.CheckConstraint(
                condition=Q(wanted__in=Wanted.values), name="server_wanted_known"
            ),
            models.CheckConstraint(
                condition=Q(port__isnull=False) | ~Q(state__in=RUNNING),
                name="server_running_has_port",
            ),
            models.UniqueConstraint(
                fields=["node", "port"],
                condition=Q(port__isnull=False),
                name="server_node_port_unique",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} on {self.node}"

    @property
    def host(self) -> str:
        """Where its process was launched to listen; empty where nobody knows."""
        argv: list[str] = self.argv
        return argv[argv.index("--host") + 1] if "--host" in argv[:-1] else ""

    @property
    def is_restart_due(self) -> bool:
        """Whether a restart was asked for after its process was launched."""
        if self.restart_requested_at is None or self.launched_at is None:
            return False
        return self.restart_requested_at > self.launched_at

    @property
    def is_asked_again(self) -> bool:
        """Whether somebody has asked for it since it last stopped or failed."""
        if self.requested_at is None or self.stopped_at is None:
            return True
        return self.requested_at > self.stopped_at


class ServerEvent(models.Model):
    """What happened to a server: what somebody wanted of it, or what it became."""

    class Kind(models.TextChoices):
        WANTED = "wanted", "Wanted"
        STATE = "state", "State"
        NOTE = "note", "Note"

    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField(auto_now_add=True, db_index=True)
    kind = models.CharField(max_length=8, choices=Kind, default=Kind.STATE)
    who = models.CharField(max_length=150, blank=True)
    why = models.TextField(blank=True)
    from_state = models.CharField(max_length=10, blank=True)
    to_state = models.CharField(max_length=10, blank=True)
    seconds = models.FloatField(
        null=True, blank=True, help_text="How long it had been in the state that it left."
    )

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.from_state} to {self.to_state}" if self.to_state else self.why


class ServerEventDay(models.Model):
    """The sums of those events of a day that are not kept any more."""

    day = models.DateField()
    model_id = models.CharField("model", max_length=200)
    node = models.CharField(max_length=100)
    to_state = models.CharField(max_length=10, blank=True, help_text="That it became.")
    events = models.PositiveBigIntegerField(default=0)
    seconds = models.FloatField(default=0, help_text="In the states that it left, added up.")

    class Meta:
        ordering = ["-day", "model_id", "node", "to_state"]
        verbose_name = "day of server events"
        verbose_name_plural = "days of server events"
        default_permissions = ["view"]
        constraints = [
            models.UniqueConstraint(
                fields=["day", "model_id", "node", "to_state"], name="servereventday_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.model_id} on {self.node}, {self.day}"


class NodeManager(models.Manager["Node"]):
    """Nodes, each with how long it has been silent by the database's clock."""

    def get_queryset(self) -> models.QuerySet["Node"]:
        silence = ExpressionWrapper(Now() - F("heartbeat_at"), models.DurationField())
        return super().get_queryset().annotate(read_silence=silence)


class Node(models.Model):
    """A machine with a worker that starts servers."""

    objects: ClassVar[NodeManager] = NodeManager()

    name = models.CharField(max_length=100, unique=True)
    address = models.CharField(
        max_length=255, default="127.0.0.1", help_text="Where its servers are reached."
    )
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True, help_text="Its worker.")
    boot_id = models.CharField(max_length=64, blank=True)
    worker_pid = models.PositiveIntegerField(null=True, blank=True)
    hardware = models.JSONField(
        default=dict, blank=True, help_text="Cores, memory and devices, as nodes.py has it."
    )
    facts = models.JSONField(
        default=dict,
        db_default={},
        blank=True,
        help_text="What its worker is: version, ports, engines, tasks, as nodes.py has it.",
    )
    is_cordoned = models.BooleanField(
        "cordoned",
        default=False,
        db_default=False,
        help_text="No server is placed on it; those there stay.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def silence(self) -> timedelta | None:
        """How long ago its worker said that it is there; None if it never has.

        By the database's clock, as of when the row was read: those of the machines may differ.
        """
        if self.heartbeat_at is None:
            return None
        read: timedelta | None = self.__dict__.get("read_silence")
        return timezone.now() - self.heartbeat_at if read is None else read

    @property
    def is_alive(self) -> bool:
        """Whether its worker has said so lately; one of the future is of before a jump."""
        return self.silence is not None and abs(self.silence) < SILENCE


class EngineBuild(models.Model):
    """What a llama-server on a node can do, as it said itself when it was asked.

    It is asked again when the size or the time of its file differ.
    """

    node = models.CharField(max_length=100)
    path = models.CharField(max_length=1000, help_text="`embedded` for the embedded engine.")
    size_bytes = models.BigIntegerField(default=0)
    mtime_ns = models.BigIntegerField(default=0)
    version = models.CharField(max_length=200, blank=True, help_text="As it prints it.")
    build = models.PositiveIntegerField(null=True, blank=True, help_text="b11434 is 11434.")
    commit = models.CharField(max_length=64, blank=True)
    flags = models.JSONField(
        default=dict, blank=True, help_text="Each flag of --help, and the value it takes."
    )
    devices = models.JSONField(
        default=list, blank=True, help_text="name, description, total_mib, free_mib."
    )
    problem = models.TextField(blank=True, help_text="Why it cannot be used.")
    asked_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["node", "path"]
        constraints = [
            models.UniqueConstraint(fields=["node", "path"], name="enginebuild_unique")
        ]

    def __str__(self) -> str:
        return f"{self.path} on {self.node}"


class MemoryMeasurement(models.Model):
    """What a model was seen to take: its next launch is counted with it."""

    model = models.ForeignKey(DiscoveredModel, on_delete=models.CASCADE, related_name="+")
    node = models.CharField(max_length=100)
    build = models.CharField(max_length=100, blank=True)
    ctx_size = models.PositiveIntegerField(help_text="Tokens, all slots together.")
    shape = models.CharField(
        max_length=200, blank=True, help_text="The other settings that memory depends on."
    )
    ram_mib = models.PositiveIntegerField(help_text="The most that was seen.")
    vram_mib = models.PositiveIntegerField(default=0, help_text="The most that was seen.")
    measured_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["model", "node", "ctx_size"]
        constraints = [
            models.UniqueConstraint(
                fields=["model", "node", "build", "ctx_size", "shape"],
                name="measurement_unique",
            )
        ]

    def __str__(self) -> str:
        return f"{self.model}: {self.ram_mib} MiB"
