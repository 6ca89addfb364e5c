"""llama-server processes: what is wanted of each, and what is."""

from django.db import models
from django.db.models import Q

from models_app.models import DiscoveredModel


class Wanted(models.TextChoices):
    """What people, profiles and the gateway ask for."""

    RUNNING = "running", "Running"
    STOPPED = "stopped", "Stopped"


class ServerState(models.TextChoices):
    """Where a server is in its life. Only supervisor.py writes it.

    STOPPED -> STARTING -> READY <-> UNHEALTHY -> STOPPING -> STOPPED
    and any of the middle ones -> FAILED -> STARTING, when a person asks again.
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

    # Who the process is: a pid is believed only together with its start time and boot.
    pid = models.PositiveIntegerField(null=True, blank=True)
    pid_started_at = models.FloatField(null=True, blank=True, help_text="Unix time, seconds.")
    keeper_pid = models.PositiveIntegerField(null=True, blank=True)
    keeper_started_at = models.FloatField(
        null=True, blank=True, help_text="Unix time, seconds."
    )
    boot_id = models.CharField(max_length=64, blank=True)
    argv = models.JSONField(default=list, blank=True)

    requested_at = models.DateTimeField(null=True, blank=True)
    restart_requested_at = models.DateTimeField(null=True, blank=True)
    launched_at = models.DateTimeField(null=True, blank=True)
    ready_at = models.DateTimeField(null=True, blank=True)
    stopped_at = models.DateTimeField(null=True, blank=True)
    exit_code = models.IntegerField(null=True, blank=True, help_text="Negative: a signal.")
    restarts = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)

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
