"""What is fetched from a hub: what somebody wants, and how far it is."""

from django.db import models
from django.db.models import Q


class DownloadSource(models.TextChoices):
    HUB = "hub", "Hugging Face Hub"
    OLLAMA = "ollama", "Ollama registry"
    NODE = "node", "Another node"


HUBS = [choice for choice in DownloadSource.choices if choice[0] != DownloadSource.NODE]


class DownloadState(models.TextChoices):
    """QUEUED -> RUNNING <-> VERIFYING -> FINISHED, and from any of the first three -> FAILED
    or CANCELLED; to QUEUED again when its worker was lost, or somebody asks again.
    """

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    VERIFYING = "verifying", "Verifying"
    FINISHED = "finished", "Finished"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


UNDER_WAY = (DownloadState.QUEUED, DownloadState.RUNNING, DownloadState.VERIFYING)


class Download(models.Model):
    """One model fetched onto one node: all its shards, with its projector.

    Its worker writes what is; `is_wanted` is what people want. What was fetched is
    registered by a scan, and never enabled by itself.
    """

    node = models.CharField(max_length=100, help_text="The machine that it is fetched onto.")
    source = models.CharField(max_length=8, choices=DownloadSource)
    reference = models.CharField(
        max_length=300,
        help_text="As it is asked for: org/repo:QUANT, name:tag, or the id of a model.",
    )
    from_node = models.CharField(
        max_length=100,
        blank=True,
        db_default="",
        help_text="Of a copy: the machine that has the files.",
    )
    offer_url = models.CharField(
        max_length=300,
        blank=True,
        db_default="",
        help_text="Of a copy: where that machine gives them away.",
    )
    offered_at = models.DateTimeField(null=True, help_text="Of a copy: since when.")
    revision = models.CharField(
        max_length=100, blank=True, help_text="A branch, a tag or a commit of the repo."
    )
    commit = models.CharField(max_length=64, blank=True, help_text="That it came to.")
    state = models.CharField(max_length=10, choices=DownloadState, default=DownloadState.QUEUED)
    is_wanted = models.BooleanField(default=True, help_text="False: it is to be cancelled.")
    files = models.JSONField(
        default=list, help_text="name, size_bytes, done_bytes and sha256 of each."
    )
    total_bytes = models.PositiveBigIntegerField(
        null=True, help_text="Unknown until the hub was asked."
    )
    done_bytes = models.PositiveBigIntegerField(default=0)
    bytes_per_s = models.FloatField(null=True, help_text="Of late.")
    limit_bytes_per_s = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="No more than so many bytes a second."
    )
    folder = models.CharField(max_length=1024, blank=True, help_text="That it is fetched into.")
    error = models.TextField(blank=True)
    error_code = models.CharField(
        max_length=24, blank=True, help_text="A word for programs, such as disk_full."
    )
    asked_by = models.CharField(max_length=150, blank=True)
    asked_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    moved_at = models.DateTimeField(null=True, help_text="When last a byte came.")
    finished_at = models.DateTimeField(null=True)
    model = models.ForeignKey(
        "models_app.DiscoveredModel",
        null=True,
        on_delete=models.SET_NULL,
        related_name="downloads",
        help_text="That it was registered as.",
    )

    class Meta:
        ordering = ["-asked_at", "-pk"]
        default_permissions = ["add", "change", "view"]
        constraints = [
            models.UniqueConstraint(
                fields=["node", "source", "reference"],
                condition=Q(state__in=UNDER_WAY),
                name="download_once_at_a_time",
            ),
            models.CheckConstraint(
                condition=Q(state__in=DownloadState.values), name="download_state_known"
            ),
            models.CheckConstraint(
                condition=Q(source__in=DownloadSource.values), name="download_source_known"
            ),
        ]

    def __str__(self) -> str:
        return self.reference

    @property
    def is_under_way(self) -> bool:
        return self.state in UNDER_WAY
