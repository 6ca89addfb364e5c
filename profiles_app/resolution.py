"""What llama-server's run settings come to for a model: the rows of every layer, resolved."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings as django_settings

from models_app.memory import MemoryEstimate
from models_app.models import DiscoveredModel, ModelKind
from models_app.rows import CTX_SIZE, estimate_row, file_bytes
from profiles_app.models import BaseRunSettings, ModelRunSettings, Profile, ProfileMember
from profiles_app.runsettings import Setting, adapters, resolve

MIB = 2**20

Layer = tuple[str, Mapping[str, Any]]
Settings = dict[str, Setting]


@dataclass(frozen=True, slots=True)
class Layers:
    """What each layer says of models, read once; a node makes settings of it by its cores."""

    profile: Profile | None
    base: Mapping[str, Any]
    of_models: Mapping[str, Mapping[str, Any]]
    of_members: Mapping[str, Mapping[str, Any]]

    def settings(self, model: DiscoveredModel, *, cores: int | None = None) -> Settings:
        """Return the run settings of one of the models; without `cores`, as here."""
        return resolve(
            [
                ("base", self.base),
                ("model", self.of_models.get(model.model_id, {})),
                *_of_profile(self.profile, self.of_members.get(model.model_id, {})),
            ],
            model_context=model.context_length,
            cores=cores or os.cpu_count() or 1,
            allowed_args=django_settings.MAGI_ALLOWED_EXTRA_ARGS,
        )


def settings_of(
    model: DiscoveredModel, profile: Profile | None, *, cores: int | None = None
) -> Settings:
    """Return the run settings of a model in a profile, as this machine would launch it.

    None is for no profile: what the base and the model say. Nothing is cached.

    Args:
        cores: of another node, as that would launch it.
    """
    return settings_of_all([model], profile, cores=cores)[model.model_id]


def settings_of_all(
    models: Sequence[DiscoveredModel], profile: Profile | None, *, cores: int | None = None
) -> dict[str, Settings]:
    """Return the run settings of every model by its id, with three queries for all of them.

    Args:
        cores: of the node that would launch them; without it, this machine's.
    """
    layers = layers_of_all(models, profile)
    return {model.model_id: layers.settings(model, cores=cores) for model in models}


def layers_of_all(models: Sequence[DiscoveredModel], profile: Profile | None) -> Layers:
    """Read what every layer says of the models, with three queries for all of them."""
    ids = [model.model_id for model in models]
    base = BaseRunSettings.objects.values_list("run_settings", flat=True).first() or {}
    of_models = dict(
        ModelRunSettings.objects.filter(model_id__in=ids).values_list(
            "model_id", "run_settings"
        )
    )
    of_members = {}
    if profile is not None:
        members = ProfileMember.objects.filter(profile=profile, model_id__in=ids)
        of_members = dict(members.values_list("model_id", "run_settings"))
    return Layers(profile, base, of_models, of_members)


def _of_profile(profile: Profile | None, member: Mapping[str, Any]) -> list[Layer]:
    if profile is None:
        return []
    name = f"profile {profile.slug}"
    return [(name, profile.run_settings), (f"{name}, this model", member)]


def memory_of(model: DiscoveredModel, settings: Mapping[str, Setting]) -> MemoryEstimate:
    """Estimate the memory of a model that runs with `settings`, adapters and draft included.

    A draft model counts with its weights alone. Files that have gone count nothing.
    """
    return estimate_row(
        model,
        size_bytes=_further_weights_bytes(settings),
        projector_bytes=file_bytes(projector_path(model, settings)),
        # All slots together: they share it, or have their parts of it.
        ctx_size=settings["ctx_size"].value or model.context_length or CTX_SIZE,
        cache_type_k=settings["cache_type_k"].value or "f16",
        cache_type_v=settings["cache_type_v"].value or "f16",
        ubatch_size=settings["ubatch_size"].value,
    )


def memory_mib(model: DiscoveredModel, settings: Mapping[str, Setting]) -> int:
    """Return the whole estimate, in MiB, rounded up."""
    return -(-memory_of(model, settings).total_bytes // MIB)


def projector_path(model: DiscoveredModel, settings: Mapping[str, Setting]) -> str:
    """Return the projector that llama-server is given; empty for none."""
    choice: str = settings["mmproj"].value
    if choice == "auto":
        return model.projector_path if model.kind == ModelKind.VISION else ""
    return "" if choice == "none" else choice


def _further_weights_bytes(settings: Mapping[str, Setting]) -> int:
    paths = [adapter.path for adapter in adapters(settings["lora"].value)]
    if draft := settings["model_draft"].value:
        paths.append(draft)
    return sum(file_bytes(path) for path in paths)
