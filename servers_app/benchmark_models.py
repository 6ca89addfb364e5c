"""How fast models were seen to be: on which machine, with which build and settings."""

from django.db import models
from django.db.models import Q
from django.utils import timezone


class BenchmarkKind(models.TextChoices):
    MEASURE = "measure", "Measured"
    TUNE = "tune", "Tuned"


class BenchmarkState(models.TextChoices):
    """QUEUED -> RUNNING -> FINISHED, FAILED or CANCELLED."""

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    FINISHED = "finished", "Finished"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


BENCHMARK_UNDER_WAY = (BenchmarkState.QUEUED, BenchmarkState.RUNNING)


class Benchmark(models.Model):
    """One run of measurements of one model, or one search for better settings.

    The three figures of a run are medians with one client, warm, at the plan's first
    context; `figures` has all, with their samples.
    """

    kind = models.CharField(max_length=8, choices=BenchmarkKind, default=BenchmarkKind.MEASURE)
    # No foreign key: a model may be forgotten, and what was measured is not.
    model_id = models.CharField("model", max_length=200)
    node = models.CharField(max_length=100)
    build = models.CharField(max_length=100, blank=True, help_text="As it says itself.")
    machine = models.CharField(
        max_length=300,
        blank=True,
        help_text="Processor, memory, GPUs: what it was measured on.",
    )
    settings = models.JSONField(default=dict, help_text="Run settings that it had.")
    plan = models.JSONField(
        default=dict, help_text="contexts, clients, repeats, and what else was asked for."
    )
    state = models.CharField(
        max_length=10, choices=BenchmarkState, default=BenchmarkState.QUEUED
    )
    is_wanted = models.BooleanField(default=True, help_text="False: it is to be cancelled.")
    progress = models.FloatField(default=0, help_text="0 to 1.")
    note = models.CharField(max_length=300, blank=True, help_text="What it does now.")
    error = models.TextField(blank=True)
    asked_by = models.CharField(max_length=150, blank=True)
    asked_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    prompt_tokens_per_s = models.FloatField(null=True)
    generation_tokens_per_s = models.FloatField(null=True)
    first_token_ms = models.FloatField(null=True)
    load_seconds = models.FloatField(null=True, help_text="Of the first launch: cold.")
    peak_ram_mib = models.PositiveIntegerField(null=True)
    peak_vram_mib = models.PositiveIntegerField(null=True)
    figures = models.JSONField(default=list, help_text="One for each context and clients.")
    outcome = models.JSONField(
        default=dict, help_text="Of a search: the settings it ends in, its trials, their gain."
    )

    class Meta:
        ordering = ["-asked_at", "-pk"]
        default_permissions = ["add", "change", "view"]
        indexes = [
            models.Index(fields=["model_id", "node", "asked_at"], name="benchmark_model_at")
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=BenchmarkState.values), name="benchmark_state_known"
            ),
            models.CheckConstraint(
                condition=Q(kind__in=BenchmarkKind.values), name="benchmark_kind_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model_id}, {timezone.localtime(self.asked_at):%Y-%m-%d %H:%M}"
