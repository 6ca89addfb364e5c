"""The keys by which programs call the REST API and the gateway."""

from datetime import datetime

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

KEY_START = "magi_"
SECRET_HEX_DIGITS = 64  # 256 bits
PREFIX_CHARS = 13  # of the secret: 32 of its 256 bits, too few to guess the others by
MAX_NAME_CHARS = 64
MAX_RATE = 100_000  # requests a minute; Redis keeps the time of each of them


class Scope(models.TextChoices):
    """What a key is for. `manage` includes `read`."""

    READ = "read", "Read"
    INFER = "infer", "Infer"
    MANAGE = "manage", "Manage"


class ApiKey(models.Model):
    """A key, without its secret: that is shown when it is made, and kept nowhere.

    The hash is a plain SHA-256. A slow hash protects what people make up, which can be
    guessed; this secret is 256 random bits, and nobody tries 2^255 of them. A fast one is
    looked up on each request at the cost of a microsecond.
    """

    name = models.CharField(
        max_length=MAX_NAME_CHARS,
        validators=[
            RegexValidator(
                r"\A(?!magi_)[^\W_][\w .@:/+-]*\Z",
                "A name begins with a letter or a digit, and goes on with letters, digits, "
                "spaces and . @ : / + - _",
            )
        ],
        help_text="Who or what uses it. It stands in histories and in the request log.",
    )
    prefix = models.CharField(
        max_length=PREFIX_CHARS,
        unique=True,
        help_text="The first characters of the key, to recognise it by.",
    )
    hash = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the key, in hex.")
    may_read = models.BooleanField("read", default=False, help_text="See models and servers.")
    may_infer = models.BooleanField("infer", default=True, help_text="Send requests to models.")
    may_manage = models.BooleanField(
        "manage", default=False, help_text="Change what runs, and read."
    )
    model_ids = models.JSONField(
        "models",
        default=list,
        blank=True,
        help_text="Ids of the models it may use; none: all of them.",
    )
    expires_at = models.DateTimeField("expires", null=True, blank=True)
    rate_limit_per_minute = models.PositiveIntegerField(
        "requests a minute",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_RATE)],
        help_text="Over all processes; the next one is refused. Empty: no limit.",
    )
    created_at = models.DateTimeField("made", default=timezone.now)
    created_by = models.CharField("made by", max_length=150, blank=True)
    last_used_at = models.DateTimeField(
        "last used", null=True, blank=True, help_text="To the minute."
    )
    revoked_at = models.DateTimeField("revoked", null=True, blank=True)

    # Of one that is being made, until it has been shown; no column has it.
    secret = ""  # nosec B105

    class Meta:
        verbose_name = "API key"
        ordering = ["name", "-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["name"],
                condition=Q(revoked_at__isnull=True),
                name="apikey_name_unique",
                violation_error_message=(
                    "There is a key of this name. Revoke it first, or take another name."
                ),
            ),
            models.CheckConstraint(
                condition=Q(may_read=True) | Q(may_infer=True) | Q(may_manage=True),
                name="apikey_has_scope",
                violation_error_message="A key without a scope may do nothing. Give it one.",
            ),
            models.CheckConstraint(
                condition=Q(rate_limit_per_minute__isnull=True)
                | Q(rate_limit_per_minute__gte=1),
                name="apikey_rate_positive",
                violation_error_message="The rate limit is a whole number from 1.",
            ),
            models.CheckConstraint(
                condition=Q(expires_at__isnull=True) | Q(expires_at__gt=F("created_at")),
                name="apikey_expires_later",
                violation_error_message="The key would have expired before it was made.",
            ),
            models.CheckConstraint(condition=~Q(name=""), name="apikey_named"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def scopes(self) -> frozenset[Scope]:
        """What it may do, with what that includes."""
        scopes = set()
        if self.may_read or self.may_manage:
            scopes.add(Scope.READ)
        if self.may_infer:
            scopes.add(Scope.INFER)
        if self.may_manage:
            scopes.add(Scope.MANAGE)
        return frozenset(scopes)

    def has_expired(self, now: datetime | None = None) -> bool:
        return self.expires_at is not None and self.expires_at <= (now or timezone.now())
