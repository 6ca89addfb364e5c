"""How models should be used: named profiles, of which one is active."""

from django.db import models
from django.db.models import Q

from models_app.models import Tier


class Strategy(models.TextChoices):
    ROUND_ROBIN = "round_robin", "Round robin"
    LEAST_LOADED = "least_loaded", "Least loaded"
    RANDOM = "random", "Random"


class Profile(models.Model):
    """A named choice of models and of how requests find them.

    `slug` is the file stem and the name in the API: `Fast Only` is `fast-only`.
    """

    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=100, unique=True)
    description = models.TextField(blank=True)
    is_active = models.BooleanField(default=False, editable=False)

    two_stage_enabled = models.BooleanField(default=False)
    two_stage_stage1_tier = models.CharField(max_length=16, choices=Tier, default=Tier.BALANCED)
    two_stage_stage2_tier = models.CharField(max_length=16, choices=Tier, default=Tier.POWERFUL)
    two_stage_stage1_max_tokens = models.PositiveIntegerField(default=500)

    load_balancing_enabled = models.BooleanField(default=True)
    load_balancing_strategy = models.CharField(
        max_length=16, choices=Strategy, default=Strategy.ROUND_ROBIN
    )
    health_check_interval = models.PositiveIntegerField(default=30, help_text="Seconds.")

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["slug"]
        constraints = [
            models.UniqueConstraint(
                fields=["is_active"], condition=Q(is_active=True), name="profile_one_active"
            ),
            models.CheckConstraint(
                condition=Q(health_check_interval__gte=1),
                name="profile_health_check_interval_gte_1",
                violation_error_message="Health checks need at least a second between them.",
            ),
            models.CheckConstraint(
                condition=Q(two_stage_stage1_max_tokens__gte=1),
                name="profile_stage1_max_tokens_gte_1",
                violation_error_message="The first stage needs at least one token.",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ProfileMember(models.Model):
    """A model that a profile enables, by id: it may not be on this machine (yet)."""

    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="members")
    model_id = models.CharField(max_length=200)
    position = models.PositiveIntegerField(default=0, help_text="Lowest first.")

    class Meta:
        ordering = ["profile", "position", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["profile", "model_id"],
                name="member_profile_model_unique",
                violation_error_message="The profile enables this model already.",
            )
        ]

    def __str__(self) -> str:
        return self.model_id


class TierRule(models.Model):
    """Up to which complexity score a tier answers."""

    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="tiers")
    name = models.CharField(max_length=16, choices=Tier)
    max_score = models.FloatField(null=True, blank=True, help_text="Empty: no limit.")
    expected_time_seconds = models.FloatField(default=5)
    description = models.CharField(max_length=200, blank=True)
    position = models.PositiveIntegerField(default=0, help_text="Lowest first.")

    class Meta:
        ordering = ["profile", "position", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["profile", "name"],
                name="tierrule_profile_name_unique",
                violation_error_message="The profile has a rule for this tier already.",
            ),
            models.CheckConstraint(
                condition=Q(max_score__isnull=True) | Q(max_score__gte=0),
                name="tierrule_max_score_gte_0",
                violation_error_message="A score is 0 or more.",
            ),
        ]

    def __str__(self) -> str:
        return self.name
