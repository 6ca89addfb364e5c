"""What people changed, row by row. models_app/audit.py writes it; nobody changes it."""

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q


class Via(models.TextChoices):
    """Which door a change came in by."""

    API = "api", "API"
    ADMIN = "admin", "Admin"
    COMMAND = "command", "Command"
    SYSTEM = "system", "MAGI itself"


class Action(models.TextChoices):
    CREATE = "create", "Created"
    UPDATE = "update", "Changed"
    DELETE = "delete", "Deleted"
    OVERRIDE = "override", "Overrode"
    ENABLE = "enable", "Enabled"
    DISABLE = "disable", "Disabled"
    ACTIVATE = "activate", "Activated"
    ROLLBACK = "rollback", "Rolled back"
    IMPORT = "import", "Imported"
    EXPORT = "export", "Exported"
    START = "start", "Started"
    STOP = "stop", "Stopped"
    RESTART = "restart", "Restarted"
    RESCAN = "rescan", "Asked for a rescan"
    LABEL = "label", "Labelled"
    PULL = "pull", "Asked for a download"
    CANCEL = "cancel", "Cancelled"
    VERIFY = "verify", "Asked for a check of files"
    BENCHMARK = "benchmark", "Asked for a benchmark"
    COMPARE = "compare", "Asked for a comparison"
    VOTE = "vote", "Voted"
    SWITCH = "switch", "Switched to"
    COPY = "copy", "Asked for a copy"
    CORDON = "cordon", "Gives no new servers to"
    UNCORDON = "uncordon", "Gives servers again to"
    RESTORE = "restore", "Restored"
    REVOKE = "revoke", "Revoked"
    PASSWORD = "password", "Set a password"
    LOGIN = "login", "Signed in"
    LOGOUT = "logout", "Signed out"
    LOGIN_FAILED = "login-failed", "Failed to sign in"


class AuditEntry(models.Model):
    """One change: who, by which door, of what, and its fields before and after.

    The target is named, not pointed at: the entry outlives it.
    """

    at = models.DateTimeField("when", auto_now_add=True)
    who = models.CharField(
        max_length=150, help_text="A user, the name of an API key, or who was at the terminal."
    )
    via = models.CharField(max_length=8, choices=Via)
    action = models.CharField(max_length=16, choices=Action)
    target_kind = models.CharField("kind", max_length=32, help_text="Such as model or profile.")
    target_id = models.CharField(
        max_length=255, help_text="What never changes of it: a model's id, a profile's slug."
    )
    target_name = models.CharField(max_length=255, blank=True, help_text="As it was called.")
    before = models.JSONField(
        null=True, encoder=DjangoJSONEncoder, help_text="Of the fields that changed."
    )
    after = models.JSONField(
        null=True, encoder=DjangoJSONEncoder, help_text="Of the fields that changed."
    )
    request_id = models.CharField(
        max_length=128, blank=True, help_text="X-Request-Id, if the request had one."
    )

    class Meta:
        verbose_name = "audit entry"
        verbose_name_plural = "audit entries"
        ordering = ["-at", "-pk"]
        default_permissions = ["view"]  # there is no right to change it
        indexes = [
            models.Index(fields=["at"], name="audit_at"),
            models.Index(fields=["target_kind", "target_id", "at"], name="audit_target_at"),
            models.Index(fields=["who", "at"], name="audit_who_at"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(via__in=Via.values), name="audit_via_known"),
            models.CheckConstraint(
                condition=Q(action__in=Action.values), name="audit_action_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_action_display()}: {self.target_kind} {self.called}"

    @property
    def called(self) -> str:
        return self.target_name or self.target_id
