"""Presets: how a model chooses its words, and models that a TOML file names."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q


def _between(low: float, high: float) -> list[MinValueValidator | MaxValueValidator]:
    return [MinValueValidator(low), MaxValueValidator(high)]


class Thinking(models.TextChoices):
    """Whether an answer carries the reasoning that led to it."""

    SHOW = "show", "Shown"
    HIDE = "hide", "Hidden"


class SamplingPreset(models.Model):
    """How a model chooses its words. What is empty is left to llama-server.

    Source of the names: POST /completion, tools/server/README.md of llama.cpp.
    """

    name = models.SlugField(max_length=64, unique=True)
    description = models.CharField(max_length=300, blank=True)
    use_case = models.CharField(max_length=200, blank=True)
    max_tokens = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)]
    )
    temperature = models.FloatField(null=True, blank=True, validators=_between(0, 2))
    top_p = models.FloatField(null=True, blank=True, validators=_between(0, 1))
    top_k = models.PositiveIntegerField(null=True, blank=True, help_text="0: no limit.")
    min_p = models.FloatField(null=True, blank=True, validators=_between(0, 1))
    repeat_penalty = models.FloatField(null=True, blank=True, validators=_between(0, 10))
    seed = models.BigIntegerField(
        null=True, blank=True, validators=_between(-1, 2**32 - 1), help_text="-1: random."
    )
    stop = models.JSONField(default=list, blank=True, help_text="Texts that end an answer.")
    thinking = models.CharField(
        max_length=8,
        choices=Thinking,
        default=Thinking.SHOW,
        help_text="Whether answers carry the reasoning of a model that thinks.",
    )

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(temperature__isnull=True)
                | (Q(temperature__gte=0) & Q(temperature__lte=2)),
                name="preset_temperature_in_range",
                violation_error_message="A temperature is 0 to 2.",
            ),
            models.CheckConstraint(
                condition=Q(top_p__isnull=True) | (Q(top_p__gte=0) & Q(top_p__lte=1)),
                name="preset_top_p_in_range",
                violation_error_message="top_p is 0 to 1.",
            ),
            models.CheckConstraint(
                condition=Q(thinking__in=Thinking.values), name="preset_thinking_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ModelPreset(models.Model):
    """A model that a TOML file of gemma-cli names: weights and, for gemma.cpp, a tokenizer."""

    name = models.CharField(max_length=100, unique=True)
    weights = models.CharField(max_length=1024, help_text="Path of the weights.")
    tokenizer = models.CharField(max_length=1024, blank=True, help_text="Path of the *.spm.")
    format = models.CharField(max_length=32, blank=True, help_text="sfp, bf16, f32, nuq…")
    size_gb = models.FloatField(null=True, blank=True, validators=[MinValueValidator(0)])
    avg_tokens_per_sec = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(0)]
    )
    quality = models.CharField(max_length=32, blank=True, help_text="high, medium, fast")
    use_case = models.CharField(max_length=300, blank=True)
    context_length = models.PositiveIntegerField(default=8192, help_text="Tokens.")
    min_ram_gb = models.FloatField(null=True, blank=True, validators=[MinValueValidator(0)])
    is_default = models.BooleanField(default=False)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"],
                condition=Q(is_default=True),
                name="modelpreset_one_default",
                violation_error_message="Another model is the default.",
            )
        ]

    def __str__(self) -> str:
        return self.name
