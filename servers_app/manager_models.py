"""What the four /ai calls keep: the current model, and how models performed."""

from django.db import models
from django.db.models import Q

from models_app.download_models import Download
from models_app.models import DiscoveredModel


class CurrentModel(models.Model):
    """The model that somebody switched to: `current` in the gateway. One row."""

    model = models.ForeignKey(
        DiscoveredModel, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    who = models.CharField(max_length=150, blank=True)
    since = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ["view"]
        constraints = [
            models.CheckConstraint(condition=Q(pk=1), name="currentmodel_one_row"),
        ]

    def __str__(self) -> str:
        return str(self.model)


class SwitchRequest(models.Model):
    """A switch that waits for a download to finish."""

    download = models.OneToOneField(Download, on_delete=models.CASCADE, related_name="switch")
    who = models.CharField(max_length=150, blank=True)
    asked_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ["view"]

    def __str__(self) -> str:
        return str(self.download)


class ModelPerformance(models.Model):
    """How a model performed in the day before `at`, as it was measured; null: not measured."""

    model = models.ForeignKey(
        DiscoveredModel, on_delete=models.CASCADE, related_name="performance"
    )
    at = models.DateTimeField(auto_now_add=True)
    tokens_per_second = models.FloatField(null=True)
    avg_latency_ms = models.FloatField(null=True)
    error_rate = models.FloatField(null=True, help_text="0 to 1, of its requests.")
    total_requests = models.PositiveBigIntegerField(default=0)
    memory_mb = models.FloatField(null=True)
    cpu_percent = models.FloatField(null=True)
    memory_percent = models.FloatField(null=True)
    benchmarks = models.JSONField(default=dict, help_text="What its benchmarks came to.")
    task_suitability = models.JSONField(default=dict, help_text="0 to 10, by kind of task.")

    class Meta:
        ordering = ["-at", "-pk"]
        default_permissions = ["view"]
        verbose_name_plural = "performance"
        indexes = [models.Index(fields=["model", "at"], name="performance_model_at")]

    def __str__(self) -> str:
        return f"{self.model}, {self.at:%Y-%m-%d}"
