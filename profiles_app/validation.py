"""What is wrong with a profile here and now: with its models, its engine and the memory."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from models_app.models import DiscoveredModel, ModelKind
from profiles_app.document import Document
from profiles_app.engines import no_such_engine, nodes_without, steps, unknown_settings
from profiles_app.errors import Problem, ProfileInvalidError
from profiles_app.filepaths import misplaced_files
from profiles_app.models import Classifier, Profile
from profiles_app.nodes import MAX_NAMED, launchable_on, may_run_on, placement_findings
from profiles_app.preset_models import SamplingPreset
from profiles_app.reading import line_of
from profiles_app.resolution import memory_mib, settings_of_all
from profiles_app.rows import as_document
from profiles_app.runsettings import MAGI
from profiles_app.variables import path_text
from profiles_app.yamltext import read_yaml

NEAREST = 3

Path = tuple[str | int, ...]


class Finding(NamedTuple):
    """Something to know of a profile; an error stops its activation."""

    is_error: bool
    path: str  # enabled_models[1]
    message: str
    line: int | None = None  # of its YAML

    def __str__(self) -> str:
        return str(Problem(self.line, self.path, self.message))


@dataclass(frozen=True, slots=True)
class Validation:
    """All findings at once, in the order of the YAML."""

    findings: Sequence[Finding]
    missing_models: Sequence[str]
    tier_mismatches: Sequence[str]
    memory_mib: int  # of all servers together, estimated

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.is_error]

    @property
    def warnings(self) -> list[Finding]:
        return [finding for finding in self.findings if not finding.is_error]

    @property
    def is_valid(self) -> bool:
        return not self.errors

    def as_json(self) -> dict[str, Any]:
        return {
            "valid": self.is_valid,
            "missing_models": list(self.missing_models),
            "tier_mismatches": list(self.tier_mismatches),
            "warnings": [str(finding) for finding in self.warnings],
            "errors": [str(finding) for finding in self.errors],
            "findings": [finding._asdict() for finding in self.findings],
            "memory_mib": self.memory_mib,
        }


def validate(profile: Profile) -> Validation:
    """Hold a profile against the registry, the presets and its memory budget."""
    document = as_document(profile)
    check = _Check(profile, document)
    findings = [
        *check.models(),
        *check.tiers(),
        *check.two_stage(),
        *check.routing(),
        *check.placement(),
        *check.engine(),
        *check.rest(),
    ]
    try:
        lines: Mapping[Path, int] = read_yaml(profile.yaml).lines
    except ProfileInvalidError:  # rows that somebody made without a text
        lines = {}
    placed = [
        Finding(is_error, path_text(path), message, line_of(lines, path))
        for is_error, path, message in findings
    ]
    placed.sort(key=lambda finding: (finding.line or 0, not finding.is_error))
    return Validation(
        findings=placed,
        missing_models=check.missing,
        tier_mismatches=check.mismatches,
        memory_mib=check.memory_mib,
    )


_Found = tuple[bool, Path, str]


class _Check:
    def __init__(self, profile: Profile, document: Document) -> None:
        self.document = document
        self.members: list[dict[str, Any]] = [
            {"model_id": member} if isinstance(member, str) else member
            for member in document["enabled_models"]
        ]
        ids = [member["model_id"] for member in self.members]
        models = DiscoveredModel.objects.select_related("root")
        self.models_here = models.in_bulk(ids, field_name="model_id")
        there = launchable_on(self.models_here.values())
        self.nodes_of = {id_: there[model.pk] for id_, model in self.models_here.items()}
        self.missing = [model_id for model_id in ids if model_id not in self.models_here]
        self.mismatches: list[str] = []
        self.settings = settings_of_all(list(self.models_here.values()), profile)
        self.memory_mib = sum(
            memory_mib(model, self.settings[model.model_id]) * member.get("replicas", 1)
            for member in self.members
            if (model := self.models_here.get(member["model_id"])) is not None
        )

    def models(self) -> Iterator[_Found]:
        if not self.members:
            yield False, ("enabled_models",), "No model is enabled: nothing will run."
        known: list[str] | None = None
        for index, member in enumerate(self.members):
            path, model_id = ("enabled_models", index), member["model_id"]
            model = self.models_here.get(model_id)
            if model is None:
                if known is None:
                    known = list(DiscoveredModel.objects.values_list("model_id", flat=True))
                yield True, path, _unknown(model_id, known)
            elif not model.is_launchable and not self.nodes_of[model_id]:
                why = model.problem or "its file has gone; `manage.py rescan` looks again"
                yield True, path, f"{model_id} cannot run: {why}."
        yield from self._aliases()

    def _aliases(self) -> Iterator[_Found]:
        aliases = {
            alias: ("enabled_models", index, "aliases", place)
            for index, member in enumerate(self.members)
            for place, alias in enumerate(member.get("aliases", ()))
        }
        if not aliases:
            return
        here = DiscoveredModel.objects.filter(model_id__in=aliases)
        for model_id in here.values_list("model_id", flat=True):
            message = f"{model_id} is also the id of a model here: while that runs, it answers."
            yield False, aliases[model_id], message

    def tiers(self) -> Iterator[_Found]:
        rules = self.document["tier_config"]
        names = [rule["name"] for rule in rules]
        for model_id, tier in self._served():
            if tier not in names:
                self.mismatches.append(model_id)
                message = f"{model_id} is {tier}, and no tier of that name has a rule."
                yield False, ("tier_config",), message
        served = {tier for _, tier in self._served()}
        for index, name in enumerate(names):
            if name not in served and self.members:
                message = f"No enabled model is {name}: requests go to another tier."
                yield False, ("tier_config", index), message
        yield from self._scores(rules)

    def _scores(self, rules: Sequence[Mapping[str, Any]]) -> Iterator[_Found]:
        limits = [rule["max_score"] for rule in rules]
        for index, limit in enumerate(limits):
            path: Path = ("tier_config", index, "max_score")
            before = limits[index - 1] if index else -1.0
            if index and before is None:
                message = (
                    f"{rules[index]['name']} is never reached: the tier above has no limit."
                )
                yield True, path, message
            elif limit is not None and before is not None and limit <= before:
                message = f"{limit:g} is not above {before:g}, the limit of the tier before."
                yield True, path, message
        if limits and None not in limits:
            message = "No tier has max_score .inf: what scores higher goes to the last one."
            yield False, ("tier_config",), message

    def two_stage(self) -> Iterator[_Found]:
        stages = self.document["two_stage"]
        if not stages["enabled"]:
            return
        served = {tier for _, tier in self._served()}
        for key in ("stage1_tier", "stage2_tier"):
            if stages[key] not in served:
                message = f"No enabled model is {stages[key]}: this stage has nobody to answer."
                yield True, ("two_stage", key), message
        if stages["stage1_tier"] == stages["stage2_tier"]:
            message = f"Both stages are {stages['stage1_tier']}: the second adds only time."
            yield False, ("two_stage", "stage2_tier"), message

    def routing(self) -> Iterator[_Found]:
        """Hold the classifier's model against the registry; without it, another one scores."""
        routing = self.document["routing"]
        model_id, path = routing["classifier_model"], ("routing", "classifier_model")
        if not model_id:
            return
        model = DiscoveredModel.objects.filter(model_id=model_id).first()
        if model is None:
            known = list(DiscoveredModel.objects.values_list("model_id", flat=True))
            yield False, path, _unknown(model_id, known)
            return
        needs_embedding = routing["classifier"] == Classifier.EMBEDDING
        if needs_embedding and model.kind != ModelKind.EMBEDDING:
            message = f"{model_id} is no embedding model: the heuristic scores instead."
            yield False, path, message
        if model_id not in self.models_here:
            message = f"{model_id} is not enabled: while it does not run, nobody asks it."
            yield False, path, message

    def placement(self) -> Iterator[_Found]:
        """Hold the nodes that are named against those there are, and those with the files."""
        yield from placement_findings(self.document["placement"], self.members, self.nodes_of)

    def engine(self) -> Iterator[_Found]:
        """Hold what is launched against the engine: it, or what is below, may have changed."""
        name = self.document["engine"]
        if why := no_such_engine(name):
            yield True, ("engine",), why
            return
        lacking = nodes_without(name)
        found: dict[_Found, None] = {}  # what stands below the models is found with each
        for index, member in enumerate(self.members):
            settings = self.settings.get(member["model_id"], {})
            said = {key: each.value for key, each in settings.items() if each.origin != MAGI}
            nodes = self._nodes_for(member)
            if nodes and lacking.issuperset(nodes):
                yield True, ("enabled_models", index), _without_engine(name, nodes)
            unknown = unknown_settings(name, said, nodes=nodes)
            for place, sentence in (*unknown, *misplaced_files(said)):
                where = steps(place)
                origin = settings[str(where[0])].origin
                found[_unknown_setting(index, origin, where, sentence)] = None
        yield from found

    def rest(self) -> Iterator[_Found]:
        preset = self.document["preset"]
        if preset and not SamplingPreset.objects.filter(name=preset).exists():
            there = ", ".join(SamplingPreset.objects.values_list("name", flat=True))
            message = f"There is no preset '{preset}'. Available: {there or 'none'}."
            yield True, ("preset",), message
        budget = self.document["memory"]["budget_mib"]
        if budget is not None and self.memory_mib > budget:
            message = (
                f"The models need about {self.memory_mib:,} MiB, and the budget is {budget:,}."
            )
            yield True, ("memory", "budget_mib"), message

    def _nodes_for(self, member: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the nodes that would run a member."""
        there = self.nodes_of.get(member["model_id"], ())
        return may_run_on(there, member.get("nodes", ()), self.document["placement"]["nodes"])

    def _served(self) -> list[tuple[str, str]]:
        """Return the enabled models that have a tier, and it."""
        pairs = []
        for member in self.members:
            model = self.models_here.get(member["model_id"])
            if model is not None and model.has_tier:
                pairs.append((model.model_id, member.get("tier") or model.tier))
        return pairs


def _unknown_setting(index: int, origin: str, where: Path, sentence: str) -> _Found:
    """Return where in a profile one looks for what a layer of `origin` says."""
    if origin.endswith(", this model"):
        return True, ("enabled_models", index, "run_settings", *where), sentence
    if origin.startswith("profile "):
        return True, ("run_settings", *where), sentence
    path: Path = ("enabled_models", index) if origin == "model" else ("engine",)
    return True, path, f"{path_text(where)} of the {origin}'s run settings: {sentence}"


def _without_engine(name: str, nodes: Sequence[str]) -> str:
    there = ", ".join(nodes[:MAX_NAMED])
    return f"None of the nodes that may run it has an engine '{name}': {there}."


def _unknown(model_id: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(model_id, known, n=NEAREST, cutoff=0.5)
    if near:
        return f"No model here has the id {model_id}. Near it: {', '.join(near)}."
    where = "`manage.py models list` shows those there are." if known else "None was found yet."
    return f"No model here has the id {model_id}. {where}"
