"""The same model on further nodes."""

from django.db import models


class ModelCopy(models.Model):
    """The files of a model on another node than that of its own row.

    `DiscoveredModel` says where one of them has its files; a scan of any other node that finds
    the same content adds a row here. What is known of the content stands there, what is
    known of these files here.
    """

    model = models.ForeignKey(
        "models_app.DiscoveredModel", on_delete=models.CASCADE, related_name="copies"
    )
    node = models.CharField(max_length=100, help_text="The machine that has these files.")
    root = models.ForeignKey(
        "models_app.ScanRoot", null=True, on_delete=models.SET_NULL, related_name="copies"
    )
    file_path = models.CharField(max_length=1024, help_text="What llama-server is given.")
    blob_path = models.CharField(max_length=1024, help_text="Where the bytes really are.")
    projector_path = models.CharField(max_length=1024, blank=True)
    problem = models.TextField(blank=True, help_text="Why it cannot be launched, if so.")
    file_signature = models.JSONField(default=dict, editable=False)
    found_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["model", "node"]
        verbose_name = "copy of a model"
        verbose_name_plural = "copies of models"
        default_permissions = ["view"]
        constraints = [
            models.UniqueConstraint(
                fields=["model", "node"], name="modelcopy_model_node_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.model} on {self.node}"


class ScanDay(models.Model):
    """The sums of those scans of a node and a day whose reports are not kept any more."""

    day = models.DateField()
    node = models.CharField(max_length=100)
    scans = models.PositiveBigIntegerField(default=0)
    failed = models.PositiveBigIntegerField(default=0)
    files_seen = models.PositiveBigIntegerField(default=0)
    added = models.PositiveBigIntegerField(default=0)
    updated = models.PositiveBigIntegerField(default=0)
    missing = models.PositiveBigIntegerField(default=0)
    seconds = models.FloatField(default=0)

    class Meta:
        ordering = ["-day", "node"]
        verbose_name = "day of scans"
        verbose_name_plural = "days of scans"
        default_permissions = ["view"]
        constraints = [
            models.UniqueConstraint(fields=["day", "node"], name="scanday_day_node_unique")
        ]

    def __str__(self) -> str:
        return f"Scans of {self.node}, {self.day}"
