"""The registry: where models are looked for, and which were found."""

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from models_app import tiers
from models_app.audit_models import AuditEntry  # noqa: F401 - for Django
from models_app.copy_models import ModelCopy, ScanDay  # noqa: F401 - for Django
from models_app.download_models import Download  # noqa: F401 - for Django
from models_app.filename import DEFAULT_THINKING_WORDS
from models_app.version_models import ModelVersion  # noqa: F401 - for Django


class RootKind(models.TextChoices):
    HUGGINGFACE = "huggingface", "Hugging Face cache"
    DIRECTORY = "directory", "Plain folder"
    OLLAMA = "ollama", "Ollama store"
    GEMMA = "gemma", "gemma.cpp weights"


class Tier(models.TextChoices):
    FAST = tiers.FAST, "Fast"
    BALANCED = tiers.BALANCED, "Balanced"
    POWERFUL = tiers.POWERFUL, "Powerful"


class ModelKind(models.TextChoices):
    TEXT = "text", "Text"
    VISION = "vision", "Vision"
    EMBEDDING = "embedding", "Embedding"
    RERANKER = "reranker", "Reranker"


KINDS_WITH_TIER = (ModelKind.TEXT, ModelKind.VISION)


class ScanState(models.TextChoices):
    RUNNING = "running", "Running"
    FINISHED = "finished", "Finished"
    FAILED = "failed", "Failed"
    INTERRUPTED = "interrupted", "Interrupted"


class DiscoveryRules(models.Model):
    """How models are classed. One row: a change classes every model anew, at once."""

    powerful_min = models.FloatField(
        default=tiers.POWERFUL_MIN,
        help_text="Billions of parameters from which a model is powerful.",
    )
    fast_max = models.FloatField(
        default=tiers.FAST_MAX,
        help_text="Billions of parameters below which one of 4 bits or fewer is fast.",
    )
    thinking_words = models.TextField(
        default="\n".join(DEFAULT_THINKING_WORDS),
        blank=True,
        help_text="One a line. A model with such a word in its name thinks; a * at an end of "
        "the word stands for any text.",
    )

    class Meta:
        verbose_name = verbose_name_plural = "discovery rules"
        constraints = [
            models.CheckConstraint(condition=Q(pk=1), name="discoveryrules_one_row"),
            models.CheckConstraint(
                condition=Q(fast_max__gte=0) & Q(powerful_min__gte=F("fast_max")),
                name="discoveryrules_thresholds_in_order",
                violation_error_message="Powerful begins where fast ends, or above it.",
            ),
        ]

    def __str__(self) -> str:
        return "Discovery rules"

    @property
    def words(self) -> tuple[str, ...]:
        """The thinking words, lower case."""
        return tuple(
            word.strip().lower() for word in self.thinking_words.split() if word.strip()
        )


class ScanRoot(models.Model):
    """A folder on one node in which models are looked for. It is only read."""

    node = models.CharField(max_length=100, help_text="The machine that has this folder.")
    path = models.CharField(max_length=1024, help_text="Absolute path on that machine.")
    kind = models.CharField(max_length=16, choices=RootKind, default=RootKind.DIRECTORY)
    is_enabled = models.BooleanField(default=True, help_text="Looked at by a rescan.")
    from_settings = models.BooleanField(
        default=False, editable=False, help_text="From MODEL_SCAN_PATH, and gone with it."
    )
    last_scan_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_error = models.TextField(blank=True, editable=False)

    class Meta:
        ordering = ["node", "path"]
        constraints = [
            models.UniqueConstraint(
                fields=["node", "path"],
                name="scanroot_node_path_unique",
                violation_error_message="This folder is a scan root of that node already.",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=RootKind.values), name="scanroot_kind_known"
            ),
        ]

    def __str__(self) -> str:
        return self.path


class Scan(models.Model):
    """One scan of a node's roots, and what became of every file it saw."""

    node = models.CharField(max_length=100)
    state = models.CharField(max_length=12, choices=ScanState, default=ScanState.RUNNING)
    started_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)
    seconds = models.FloatField(null=True)
    files_seen = models.PositiveIntegerField(default=0)
    added = models.PositiveIntegerField(default=0)
    updated = models.PositiveIntegerField(default=0)
    unchanged = models.PositiveIntegerField(default=0)
    missing = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)
    report = models.JSONField(default=dict, help_text="Ids, and each skipped file's reason.")

    class Meta:
        ordering = ["-started_at", "-pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=ScanState.values), name="scan_state_known"
            )
        ]

    def __str__(self) -> str:
        return f"Scan of {self.node}, {timezone.localtime(self.started_at):%Y-%m-%d %H:%M:%S}"

    @property
    def files_per_second(self) -> float | None:
        return self.files_seen / self.seconds if self.seconds else None


class ScanMemory(models.Model):
    """What the next scan of a node need not find out again; without it, it takes longer."""

    node = models.CharField(max_length=100, unique=True)
    fingerprint = models.CharField(max_length=64, help_text="Of the scan roots and the rules.")
    registered = models.CharField(max_length=64, help_text="A hash of the ids of the models.")
    known_skips = models.JSONField(default=dict, help_text="By path, files that are no models.")
    scan = models.ForeignKey(Scan, null=True, on_delete=models.SET_NULL, related_name="+")

    def __str__(self) -> str:
        return f"What is remembered of {self.node}"


class DiscoveredModel(models.Model):
    """One model on disk: a GGUF file, or the first of its shards.

    What a scan finds is overwritten by the next one; `model_id`, `port`, the two
    overrides and `notes` are kept. `assigned_tier` and `display_name` follow the rules,
    with a person's word on whether it thinks; rules.py writes them. Whether a model is
    enabled is its profile's business and its server's state is servers_app's: neither is a
    field here.
    """

    model_id = models.CharField(max_length=200, unique=True, editable=False)
    identity = models.CharField(
        max_length=1200,
        editable=False,
        help_text="Repo and path inside it, or the canonical path: what makes it one row.",
    )
    root = models.ForeignKey(
        ScanRoot, null=True, on_delete=models.SET_NULL, related_name="models", editable=False
    )
    file_path = models.CharField(max_length=1024, help_text="What llama-server is given.")
    blob_path = models.CharField(max_length=1024, help_text="Where the bytes really are.")
    filename = models.CharField(max_length=255)
    repo_id = models.CharField(max_length=200, blank=True)

    family = models.CharField(max_length=64)
    version = models.CharField(max_length=32, blank=True)
    variant = models.CharField(max_length=120, blank=True)
    display_name = models.CharField(max_length=200)
    size_text = models.CharField(max_length=32, blank=True, help_text="As an id has it: 4p0b.")
    size_params = models.FloatField(null=True, help_text="Billions of parameters.")
    active_params = models.FloatField(null=True, help_text="Billions used for a token (MoE).")
    quantization = models.CharField(max_length=32, blank=True)
    is_thinking_model = models.BooleanField(default=False)
    supports_thinking = models.BooleanField(default=False)
    supports_tools = models.BooleanField(default=False)
    is_instruct = models.BooleanField(default=False)
    is_coder = models.BooleanField(default=False)
    kind = models.CharField(max_length=16, choices=ModelKind, default=ModelKind.TEXT)
    assigned_tier = models.CharField(max_length=16, choices=Tier, blank=True)

    architecture = models.CharField(max_length=64, blank=True)
    context_length = models.PositiveBigIntegerField(null=True, help_text="Tokens, as trained.")
    parameter_count = models.PositiveBigIntegerField(null=True)
    size_bytes = models.PositiveBigIntegerField(help_text="All shards together.")
    memory_bytes = models.PositiveBigIntegerField(null=True, help_text="Estimated.")
    projector_path = models.CharField(max_length=1024, blank=True)
    shard_count = models.PositiveIntegerField(default=1)
    metadata = models.JSONField(default=dict, help_text="From the GGUF header.")
    warnings = models.JSONField(default=list)
    problem = models.TextField(blank=True, help_text="Why it cannot be enabled, if it cannot.")

    tier_override = models.CharField(max_length=16, choices=Tier, blank=True)
    thinking_override = models.BooleanField(null=True, blank=True)
    port = models.PositiveIntegerField(null=True, blank=True, help_text="TCP, preferred.")
    notes = models.TextField(blank=True)

    is_missing = models.BooleanField(default=False, help_text="The last scan did not see it.")
    file_signature = models.JSONField(default=dict, editable=False)
    discovered_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["model_id"]
        verbose_name = "model"
        constraints = [
            models.UniqueConstraint(fields=["identity"], name="model_identity_unique"),
            models.UniqueConstraint(
                fields=["port"], condition=Q(port__isnull=False), name="model_port_unique"
            ),
            models.CheckConstraint(
                condition=Q(tier_override__in=["", *Tier.values])
                & Q(assigned_tier__in=["", *Tier.values]),
                name="model_tiers_known",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=ModelKind.values), name="model_kind_known"
            ),
        ]

    def __str__(self) -> str:
        return self.display_name

    @property
    def is_thinking(self) -> bool:
        """Whether it thinks, by a person's word if there is one."""
        if self.thinking_override is None:
            return self.is_thinking_model
        return self.thinking_override

    @property
    def has_tier(self) -> bool:
        """Embedding models and rerankers have none."""
        return self.kind in KINDS_WITH_TIER

    @property
    def tier(self) -> str:
        """The effective tier; empty for a kind that has none."""
        if not self.has_tier:
            return ""
        return self.tier_override or self.assigned_tier

    @property
    def is_launchable(self) -> bool:
        return not self.is_missing and not self.problem
