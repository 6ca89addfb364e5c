"""How models should be used: named profiles, of which one is active, and presets."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from models_app.models import Tier
from profiles_app.preset_models import SamplingPreset  # noqa: F401 - for Django

MAX_REPLICAS = 16


class Strategy(models.TextChoices):
    ROUND_ROBIN = "round_robin", "Round robin"
    LEAST_LOADED = "least_loaded", "Least loaded"
    RANDOM = "random", "Random"


class Start(models.TextChoices):
    """When the servers of a profile are launched."""

    ACTIVATION = "activation", "When the profile is activated"
    REQUEST = "request", "When a request names the model"


class RestartPolicy(models.TextChoices):
    UNLESS_STOPPED = "unless-stopped", "Unless somebody stopped it"
    ON_FAILURE = "on-failure", "When it failed"
    NEVER = "never", "Never"


class Eviction(models.TextChoices):
    """What gives way when a model does not fit into the memory budget."""

    NEVER = "never", "Nothing: the launch is refused"
    IDLE_LONGEST = "idle-longest", "The model that has been idle longest"


class Placement(models.TextChoices):
    """Which of the nodes that have a model's files gets the next of its servers."""

    SPREAD = "spread", "The one with the fewest servers of the model"
    PACK = "pack", "The fullest one that has room"
    PIN = "pin", "The first one named that has room"


class Classifier(models.TextChoices):
    """What says how complex a request to `auto` is."""

    AUTO = "auto", "The best that can answer"
    HEURISTIC = "heuristic", "Rules on its text"
    EMBEDDING = "embedding", "The nearest examples, by an embedding model"
    DECISION = "decision", "A model that decides"


class Profile(models.Model):
    """A named choice of models and of how requests find them.

    `slug` is the file stem and the name in the API: `Fast Only` is `fast-only`. `yaml` is
    the profile as somebody wrote it, with its comments, variables and `extends`; the other
    columns are what it comes to. services.py keeps the two together, and a version of each
    change.
    """

    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=100, unique=True)
    description = models.TextField(blank=True)
    is_active = models.BooleanField(default=False, editable=False)
    extends = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="children",
        help_text="What this profile does not say is as that one has it.",
    )

    two_stage_enabled = models.BooleanField(default=False)
    two_stage_stage1_tier = models.CharField(max_length=16, choices=Tier, default=Tier.BALANCED)
    two_stage_stage2_tier = models.CharField(max_length=16, choices=Tier, default=Tier.POWERFUL)
    two_stage_stage1_max_tokens = models.PositiveIntegerField(
        default=500, validators=[MinValueValidator(1)]
    )

    load_balancing_enabled = models.BooleanField(default=True)
    load_balancing_strategy = models.CharField(
        max_length=16, choices=Strategy, default=Strategy.ROUND_ROBIN
    )
    health_check_interval = models.PositiveIntegerField(
        default=30, validators=[MinValueValidator(1)], help_text="Seconds."
    )

    routing_cold_wait_seconds = models.PositiveIntegerField(
        "cold wait",
        default=30,
        null=True,
        blank=True,
        help_text="How long `auto` waits for a model of the right tier that is not loaded or "
        "is busy, before one of another tier answers. Empty: as long as it takes.",
    )
    routing_classifier = models.CharField(
        "classifier", max_length=16, choices=Classifier, default=Classifier.AUTO
    )
    routing_classifier_model = models.CharField(
        "classifier's model",
        max_length=200,
        blank=True,
        help_text="Id of the model that serves an embedding or a decision.",
    )

    start = models.CharField(max_length=16, choices=Start, default=Start.ACTIVATION)
    idle_ttl_seconds = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="A server without a request for so long is stopped. Empty: never.",
    )
    drain_seconds = models.PositiveIntegerField(
        default=30, help_text="How long requests in flight may take before a stop."
    )
    restart_policy = models.CharField(
        max_length=16, choices=RestartPolicy, default=RestartPolicy.UNLESS_STOPPED
    )
    queue_limit = models.PositiveIntegerField(
        default=64, help_text="Requests that wait for one model; the next is refused."
    )
    queue_wait_seconds = models.PositiveIntegerField(
        default=60, help_text="How long a request may wait."
    )
    memory_budget_mib = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="MiB for all servers together, by estimate. Empty: what the machine has.",
    )
    eviction = models.CharField(max_length=16, choices=Eviction, default=Eviction.NEVER)
    placement_rule = models.CharField(
        "placement",
        max_length=8,
        choices=Placement,
        default=Placement.SPREAD,
        db_default=Placement.SPREAD,
    )
    placement_nodes = models.JSONField(
        "nodes",
        default=list,
        db_default=[],
        blank=True,
        help_text="Names of nodes, the first ones first. Empty: every node.",
    )
    placement_failover = models.BooleanField(
        "failover",
        default=False,
        db_default=False,
        help_text="Whether servers of a node that is lost are started on another one.",
    )
    placement_failover_after_seconds = models.PositiveIntegerField(
        "failover after",
        default=30,
        db_default=30,
        validators=[MinValueValidator(20)],
        help_text="Seconds without a heartbeat. A node is lost after 20.",
    )
    preset = models.CharField(
        max_length=64, blank=True, help_text="Sampling preset of requests that name none."
    )
    engine = models.CharField(
        max_length=64,
        blank=True,
        help_text="Which llama-server, by its name in LLAMA_SERVER_BUILDS. Empty: the default.",
    )
    run_settings = models.JSONField(
        default=dict, blank=True, help_text="llama-server's, for every model of the profile."
    )

    yaml = models.TextField(blank=True, editable=False, help_text="As somebody wrote it.")
    file_hash = models.CharField(
        max_length=64, blank=True, editable=False, help_text="Of its file, when last seen."
    )
    version = models.PositiveIntegerField(default=0, editable=False)
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
            models.CheckConstraint(
                condition=Q(load_balancing_strategy__in=Strategy.values)
                & Q(start__in=Start.values)
                & Q(restart_policy__in=RestartPolicy.values)
                & Q(eviction__in=Eviction.values)
                & Q(routing_classifier__in=Classifier.values)
                & Q(placement_rule__in=Placement.values),
                name="profile_choices_known",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ProfileMember(models.Model):
    """A model that a profile enables, by id: it may not be on this machine (yet)."""

    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="members")
    model_id = models.CharField(max_length=200)
    position = models.PositiveIntegerField(default=0, help_text="Lowest first.")
    tier_override = models.CharField(
        max_length=16, choices=Tier, blank=True, help_text="In this profile."
    )
    replicas = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_REPLICAS)],
        help_text="Servers that share its requests.",
    )
    nodes = models.JSONField(
        default=list,
        db_default=[],
        blank=True,
        help_text="Names of nodes that may run it. Empty: the profile's.",
    )
    aliases = models.JSONField(
        default=list, blank=True, help_text='Other names for it: ["gpt-4o"].'
    )
    run_settings = models.JSONField(
        default=dict, blank=True, help_text="llama-server's, for this model in this profile."
    )

    class Meta:
        ordering = ["profile", "position", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["profile", "model_id"],
                name="member_profile_model_unique",
                violation_error_message="The profile enables this model already.",
            ),
            models.CheckConstraint(
                condition=Q(replicas__gte=1) & Q(replicas__lte=MAX_REPLICAS),
                name="member_replicas_in_range",
                violation_error_message=f"A model has 1 to {MAX_REPLICAS} replicas.",
            ),
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


class ProfileVersion(models.Model):
    """What a profile was after a change. It outlives the profile."""

    slug = models.SlugField(max_length=100, editable=False)
    number = models.PositiveIntegerField(editable=False)
    yaml = models.TextField(editable=False)
    document = models.JSONField(editable=False, help_text="What the YAML came to.")
    summary = models.TextField(editable=False, help_text="What was changed.")
    author = models.CharField(max_length=150, editable=False, help_text="Who did it.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["slug", "-number"]
        constraints = [
            models.UniqueConstraint(
                fields=["slug", "number"], name="version_slug_number_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.slug} version {self.number}"


class BaseRunSettings(models.Model):
    """What every llama-server is given, unless its model or profile says else. One row."""

    run_settings = models.JSONField(
        default=dict, blank=True, help_text="On top of what MAGI gives by itself."
    )

    class Meta:
        verbose_name = verbose_name_plural = "base run settings"
        constraints = [
            models.CheckConstraint(condition=Q(pk=1), name="baserunsettings_one_row")
        ]

    def __str__(self) -> str:
        return "Base run settings"


class ModelRunSettings(models.Model):
    """What llama-server is given for one model, in every profile."""

    model_id = models.CharField(max_length=200, unique=True)
    run_settings = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ["model_id"]
        verbose_name = verbose_name_plural = "run settings of a model"

    def __str__(self) -> str:
        return self.model_id
