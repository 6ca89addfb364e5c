"""Sampling presets: how a model chooses its words, under a name that requests can give."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from models_app import audit
from models_app.audit import Change
from models_app.audit_models import Action
from profiles_app import modelpresets
from profiles_app.errors import (
    PresetExistsError,
    PresetInUseError,
    PresetInvalidError,
    PresetNotFoundError,
    Problem,
)
from profiles_app.models import Profile
from profiles_app.preset_models import ModelPreset, SamplingPreset
from profiles_app.presetfile import (
    MODEL_TABLE,
    SAMPLING_FIELDS,
    SAMPLING_TABLE,
    Presets,
    check_sampling,
    presets_as_toml,
    read_preset_file,
    sampling_name_problem,
    twin_of,
)

SHIPPED_FILE = Path("config", "presets.toml")  # below the repository's root

_OURS = {"thinking", "description", "use_case"}  # llama-server is not told of them
# Under the names of POST /completion, tools/server/README.md of llama.cpp.
REQUEST_FIELDS = tuple(name for name in SAMPLING_FIELDS if name not in _OURS)


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of each preset of a file, by its place in it: performance_profiles.fast."""

    added: list[str] = field(default_factory=list)
    changed: dict[str, list[str]] = field(default_factory=dict)  # and which of its fields
    unchanged: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)  # the file's other tables
    default_model: str | None = None  # None: the file names none


def list_presets() -> list[SamplingPreset]:
    """Return all sampling presets, by name."""
    return list(SamplingPreset.objects.all())


def get_preset(name: str) -> SamplingPreset:
    """Return the sampling preset of that name.

    Raises:
        PresetNotFoundError: there is none; the message lists those there are.
    """
    try:
        return SamplingPreset.objects.get(name=name)
    except SamplingPreset.DoesNotExist as error:
        raise PresetNotFoundError(name, _names()) from error


@transaction.atomic
def create_preset(name: str, **values: Any) -> SamplingPreset:
    """Save a new sampling preset. What is None or not given is left to llama-server.

    Raises:
        PresetInvalidError: the name or a value is not one of a preset; lists them all.
        PresetExistsError: there is one of that name, or of one that differs only in case.
    """
    checked, problems = check_sampling(values)
    if reason := sampling_name_problem(name):
        problems.insert(0, Problem(None, "name", reason))
    if problems:
        raise PresetInvalidError(problems, of="Preset not saved")
    names = _names()
    if there := name if name in names else twin_of(name, names):
        raise PresetExistsError(name, there)
    preset = SamplingPreset.objects.create(name=name, **checked)
    audit.record(Action.CREATE, preset, after=values_of(preset))
    return preset


@transaction.atomic
def update_preset(name: str, **values: Any) -> SamplingPreset:
    """Change the values that are given, and no others; None empties one.

    Raises:
        PresetNotFoundError: there is no preset of that name.
        PresetInvalidError: a value is not one of a preset; lists them all.
    """
    preset = _locked(name)
    checked, problems = check_sampling(values)
    if problems:
        raise PresetInvalidError(problems, of=f"Preset '{name}' not changed")
    before = values_of(preset)
    for column in values:
        setattr(preset, column, checked[column])
    preset.save(update_fields=list(values))
    audit.record_change(Action.UPDATE, preset, before, values_of(preset))
    return preset


@transaction.atomic
def delete_preset(name: str) -> None:
    """Delete a sampling preset.

    Raises:
        PresetNotFoundError: there is no preset of that name.
        PresetInUseError: it is the preset of profiles, which would lose it.
    """
    preset = _locked(name)
    if profiles := used_by(preset):
        raise PresetInUseError(name, profiles)
    audit.record(Action.DELETE, preset, before=values_of(preset))
    preset.delete()


def used_by(preset: SamplingPreset) -> list[str]:
    """Return the slugs of the profiles that give this preset to their requests."""
    return list(Profile.objects.filter(preset=preset.name).values_list("slug", flat=True))


def values_of(preset: SamplingPreset) -> dict[str, Any]:
    """Return every field but the name."""
    return {name: getattr(preset, name) for name in SAMPLING_FIELDS}


def request_defaults(preset: SamplingPreset) -> dict[str, Any]:
    """Return what a request gets that does not say it itself, as llama-server calls it.

    What is empty in the preset is not there: llama-server then has its own default.
    """
    values = {name: getattr(preset, name) for name in REQUEST_FIELDS}
    return {name: value for name, value in values.items() if value not in (None, [])}


@transaction.atomic
def ensure_shipped_presets() -> list[str]:
    """Create the presets of config/presets.toml if there is no preset at all.

    So none that somebody changed is changed back, and none that somebody deleted comes
    back, unless all of them were deleted.

    Returns:
        The names of those that were created.

    Raises:
        PresetFileError: the file cannot be read, or is not sound.
    """
    if SamplingPreset.objects.exists():
        return []
    shipped = read_preset_file(settings.BASE_DIR / SHIPPED_FILE).sampling
    presets = [SamplingPreset(name=name, **values) for name, values in shipped.items()]
    # Two nodes may do this at the same time.
    SamplingPreset.objects.bulk_create(presets, ignore_conflicts=True)
    audit.record_each(
        Action.CREATE, [Change(preset, after=values_of(preset)) for preset in presets]
    )
    return list(shipped)


@transaction.atomic
def import_presets(path: Path) -> Imported:
    """Take over every preset of a TOML file, or none.

    A preset that is there becomes what the file says: a field that the file does not
    name is empty afterwards, or at its default. Presets that the file does not have stay.

    Raises:
        PresetFileError: the file cannot be read, or holds what no preset may hold. It
            lists every problem, and nothing was changed.
    """
    found = read_preset_file(
        path,
        known_sampling=_names(),
        known_models=[preset.name for preset in modelpresets.list_models()],
    )
    imported = Imported(ignored=list(found.ignored), default_model=found.default_model)
    _take_over(SamplingPreset, SAMPLING_TABLE, found.sampling, imported)
    _take_over(ModelPreset, MODEL_TABLE, found.models, imported)
    if found.default_model is not None:
        modelpresets.set_default_model(found.default_model)
    return imported


def export_presets() -> str:
    """Return all presets as TOML, for import_presets() or for gemma-cli."""
    models = modelpresets.list_models()
    return presets_as_toml(
        Presets(
            sampling={preset.name: values_of(preset) for preset in list_presets()},
            models={preset.name: modelpresets.values_of(preset) for preset in models},
            default_model=next((preset.name for preset in models if preset.is_default), None),
        )
    )


def _take_over(
    kind: type[SamplingPreset | ModelPreset],
    table: str,
    entries: dict[str, dict[str, Any]],
    imported: Imported,
) -> None:
    rows = {row.name: row for row in kind._default_manager.all()}
    for name, values in entries.items():
        place = f"{table}.{name}"
        row = rows.get(name)
        if row is None:
            row = kind._default_manager.create(name=name, **values)
            audit.record(Action.IMPORT, row, after=values)
            imported.added.append(place)
            continue
        columns = [column for column, value in values.items() if getattr(row, column) != value]
        before = {column: getattr(row, column) for column in columns}
        for column in columns:
            setattr(row, column, values[column])
        audit.record_change(Action.IMPORT, row, before, {name: values[name] for name in before})
        if columns:
            row.save(update_fields=columns)
            imported.changed[place] = columns
        else:
            imported.unchanged.append(place)


def _locked(name: str) -> SamplingPreset:
    """Return a preset that nobody else changes until the transaction ends."""
    SamplingPreset.objects.select_for_update().filter(name=name).first()
    return get_preset(name)


def _names() -> list[str]:
    return list(SamplingPreset.objects.values_list("name", flat=True))
