"""Which contents a model's files have had, and whether they are what the hub has."""

from django.db import models
from django.db.models import Q


class HubState(models.TextChoices):
    """How the files here compare with those of the hub."""

    SAME = "same", "As on the hub"
    OTHER = "other", "The hub has others"
    GONE = "gone", "No longer on the hub"


class ModelVersion(models.Model):
    """One content of a model's files: a scan that sees another one adds a row."""

    model = models.ForeignKey(
        "models_app.DiscoveredModel", on_delete=models.CASCADE, related_name="versions"
    )
    revision = models.CharField(
        max_length=64, blank=True, help_text="The commit of its repo; empty for a plain file."
    )
    signature = models.CharField(
        max_length=64,
        help_text="A hash of the names, sizes and times, or digests, of its files.",
    )
    size_bytes = models.PositiveBigIntegerField(help_text="All shards together.")
    sha256 = models.JSONField(
        default=dict, help_text="By file: as its blob is named, or as it was reckoned."
    )
    is_current = models.BooleanField(default=True)
    first_seen_at = models.DateTimeField(auto_now_add=True)
    verified_at = models.DateTimeField(null=True, help_text="When every byte was last read.")
    is_sound = models.BooleanField(
        null=True, help_text="Whether they were what they should be; empty: nobody knows."
    )
    hub_state = models.CharField(max_length=8, choices=HubState, blank=True)
    hub_commit = models.CharField(max_length=64, blank=True)
    hub_checked_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-first_seen_at", "-pk"]
        verbose_name = "version of a model"
        verbose_name_plural = "versions of models"
        default_permissions = ["view"]
        constraints = [
            models.UniqueConstraint(
                fields=["model"],
                condition=Q(is_current=True),
                name="modelversion_one_is_current",
            ),
            models.CheckConstraint(
                condition=Q(hub_state__in=["", *HubState.values]),
                name="modelversion_hub_state_known",
            ),
        ]

    def __str__(self) -> str:
        return (self.revision or self.signature)[:12]
