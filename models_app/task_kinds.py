"""What people want of a model; `task:coding` in the gateway is the best one for it."""

from django.db import models


class TaskKind(models.TextChoices):
    GENERAL = "general", "General"
    CODING = "coding", "Coding"
    ANALYSIS = "analysis", "Analysis"
    CREATIVE = "creative", "Creative"
    VISION = "vision", "Vision"
    EMBEDDING = "embedding", "Embedding"
