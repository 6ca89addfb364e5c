"""Two models side by side: the same prompts, both answers, and what people thought of them."""

from django.db import models
from django.db.models import Q

from models_app.task_kinds import TaskKind
from servers_app.benchmark_models import BenchmarkState


class Choice(models.TextChoices):
    A = "a", "The first"
    B = "b", "The second"
    TIE = "tie", "As good"
    NEITHER = "neither", "Neither"


class Comparison(models.Model):
    """One prompt set sent to two models."""

    name = models.CharField(max_length=100, blank=True)
    model_a = models.CharField(max_length=200, help_text="Its id.")
    model_b = models.CharField(max_length=200, help_text="Its id.")
    settings = models.JSONField(
        default=dict, help_text="Of every request: system, max_tokens, temperature, seed."
    )
    state = models.CharField(
        max_length=10, choices=BenchmarkState, default=BenchmarkState.QUEUED
    )
    is_wanted = models.BooleanField(default=True, help_text="False: it is to be cancelled.")
    error = models.TextField(blank=True)
    asked_by = models.CharField(max_length=150, blank=True)
    asked_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-asked_at", "-pk"]
        default_permissions = ["add", "change", "view"]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=BenchmarkState.values), name="comparison_state_known"
            )
        ]

    def __str__(self) -> str:
        return self.name or f"{self.model_a} and {self.model_b}"


class ComparedPrompt(models.Model):
    """A prompt and both answers. Which stands on the left, `is_swapped` says: nobody who
    votes is told before.
    """

    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="prompts")
    position = models.PositiveIntegerField()
    task = models.CharField(max_length=16, choices=TaskKind, default=TaskKind.GENERAL)
    prompt = models.TextField()
    answer_a = models.JSONField(
        null=True, help_text="text, tokens, seconds, tokens_per_s; or error."
    )
    answer_b = models.JSONField(null=True)
    is_swapped = models.BooleanField(default=False)

    class Meta:
        ordering = ["comparison", "position"]
        default_permissions = ["view"]
        constraints = [
            models.UniqueConstraint(
                fields=["comparison", "position"], name="comparedprompt_unique"
            ),
            models.CheckConstraint(
                condition=Q(task__in=TaskKind.values), name="comparedprompt_task_known"
            ),
        ]

    def __str__(self) -> str:
        return self.prompt[:60]


class Vote(models.Model):
    """What one person thought of two answers; by model, whichever stood on the left."""

    prompt = models.ForeignKey(ComparedPrompt, on_delete=models.CASCADE, related_name="votes")
    who = models.CharField(max_length=150)
    choice = models.CharField(max_length=8, choices=Choice)
    at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-at", "-pk"]
        default_permissions = ["add", "view"]
        constraints = [
            models.UniqueConstraint(fields=["prompt", "who"], name="vote_once"),
            models.CheckConstraint(
                condition=Q(choice__in=Choice.values), name="vote_choice_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.who}: {self.choice}"
