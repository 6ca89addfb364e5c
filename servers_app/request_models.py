"""The requests that the gateway has answered: each of them for some days, sums for good."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from models_app.models import Tier


class RequestOutcome(models.TextChoices):
    """How a request ended, in the gateway's words."""

    OK = "ok", "Answered"
    REFUSED = "refused", "Refused"
    FAILED = "failed", "Failed"
    BROKEN = "broken", "Broken off"
    CLIENT_GONE = "client_gone", "Client left"


# Of which no server gave an answer, or not all of it.
FAILURES = (RequestOutcome.FAILED, RequestOutcome.BROKEN)


class RequestRecord(models.Model):
    """One request to the gateway, and what became of it."""

    request_id = models.CharField(max_length=128)
    at = models.DateTimeField("when", help_text="When it came.")
    key = models.CharField(
        max_length=100, blank=True, help_text="The first characters of its key, or who asked."
    )
    path = models.CharField(max_length=100)
    asked = models.CharField("asked for", max_length=200, blank=True)
    model_id = models.CharField(
        "model", max_length=200, blank=True, help_text="That answered, or was to answer."
    )
    # No foreign key: a server may be forgotten, and its requests are not.
    server_id = models.BigIntegerField("server", null=True, blank=True)
    node = models.CharField(max_length=100, blank=True)
    tier = models.CharField(max_length=16, choices=Tier, blank=True)
    score = models.FloatField(
        null=True, blank=True, help_text="How complex it was taken to be, 0 to 10."
    )
    factors = models.JSONField(default=dict, blank=True, help_text="What made the score.")
    scored_by = models.CharField(max_length=16, blank=True)
    label = models.CharField(
        max_length=16,
        choices=Tier,
        blank=True,
        help_text="The tier that should have answered, as a person says.",
    )
    prompt = models.TextField(blank=True, help_text="Kept where MAGI_KEEP_PROMPTS is on.")
    is_stream = models.BooleanField("streamed", default=False)
    queued_ms = models.FloatField(default=0, help_text="Until a server had a slot for it.")
    first_byte_ms = models.FloatField(null=True, blank=True, help_text="Since it came.")
    total_ms = models.FloatField(default=0, help_text="Until the end of its answer.")
    status = models.PositiveSmallIntegerField(default=0, help_text="HTTP.")
    outcome = models.CharField(max_length=16, choices=RequestOutcome)
    error_code = models.CharField(max_length=64, blank=True)
    prompt_tokens = models.PositiveIntegerField(
        null=True, blank=True, help_text="With the cached ones."
    )
    cached_tokens = models.PositiveIntegerField(null=True, blank=True)
    completion_tokens = models.PositiveIntegerField(null=True, blank=True)

    class Meta:
        verbose_name = "request"
        permissions = [("infer", "Can send requests to models")]
        ordering = ["-at", "-pk"]
        indexes = [
            models.Index(fields=["at"], name="request_at"),
            models.Index(fields=["model_id", "at"], name="request_model_at"),
            models.Index(fields=["key", "at"], name="request_key_at"),
            models.Index(fields=["outcome", "at"], name="request_outcome_at"),
            models.Index(
                fields=["label", "at"], condition=~Q(label=""), name="request_label_at"
            ),
        ]
        constraints = [
            # A client may name two requests the same, but sends no two in a microsecond.
            models.UniqueConstraint(fields=["request_id", "at"], name="request_unique"),
            models.CheckConstraint(
                condition=Q(outcome__in=RequestOutcome.values), name="request_outcome_known"
            ),
            models.CheckConstraint(
                condition=Q(label__in=["", *Tier.values]), name="request_label_known"
            ),
        ]

    def __str__(self) -> str:
        return self.request_id


class UsageSums(models.Model):
    """What some requests to one model, of one tier, by one key, come to."""

    model_id = models.CharField("model", max_length=200, blank=True)
    key = models.CharField(
        max_length=100, blank=True, help_text="The first characters of a key, or who asked."
    )
    tier = models.CharField(max_length=16, choices=Tier, blank=True)
    requests = models.PositiveBigIntegerField(default=0)
    failures = models.PositiveBigIntegerField(
        default=0, help_text="Of which no server gave an answer, or not all of it."
    )
    prompt_tokens = models.PositiveBigIntegerField(default=0, help_text="With the cached ones.")
    cached_tokens = models.PositiveBigIntegerField(default=0)
    completion_tokens = models.PositiveBigIntegerField(default=0)
    answered = models.PositiveBigIntegerField(
        default=0, help_text="Of which a first byte came."
    )
    first_byte_ms = models.FloatField(default=0, help_text="Of all those, added up.")
    total_ms = models.FloatField(default=0, help_text="Of all requests, added up.")

    class Meta:
        abstract = True


class UsageMinute(UsageSums):
    """The sums of a minute's requests to one model, of one tier, by one key."""

    minute = models.DateTimeField(help_text="In which they came.")

    class Meta:
        verbose_name = "minute of usage"
        verbose_name_plural = "usage"
        ordering = ["-minute", "model_id", "key", "tier"]
        constraints = [
            models.UniqueConstraint(
                fields=["minute", "model_id", "key", "tier"], name="usageminute_unique"
            )
        ]

    def __str__(self) -> str:
        at = timezone.localtime(self.minute)
        return f"{self.model_id or 'no model'} at {at:%Y-%m-%d %H:%M}"


class UsageDay(UsageSums):
    """The sums of those minutes of a day that are not kept one by one any more."""

    day = models.DateField(help_text="In UTC, in which they came.")

    class Meta:
        verbose_name = "day of usage"
        verbose_name_plural = "days of usage"
        default_permissions = ["view"]
        ordering = ["-day", "model_id", "key", "tier"]
        constraints = [
            models.UniqueConstraint(
                fields=["day", "model_id", "key", "tier"], name="usageday_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.model_id or 'no model'} on {self.day}"
