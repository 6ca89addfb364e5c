"""Profiles as files: `config/profiles/*.yaml`, and which side was edited since they agreed."""

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from django.db import models, transaction

from models_app import audit
from models_app.audit_models import Action
from profiles_app.document import changes, flat
from profiles_app.errors import (
    Problem,
    ProfileFileConflictError,
    ProfileFileError,
    ProfileInvalidError,
)
from profiles_app.models import Profile
from profiles_app.reading import read_profile
from profiles_app.rows import as_document
from profiles_app.services import compose, save_yaml, text_hash
from profiles_app.yamltext import MAX_BYTES, read_yaml

SUFFIX = ".yaml"
_SLUG = re.compile(r"[a-z0-9_-]{1,100}")


class FileState(models.TextChoices):
    """How a profile and its file are to each other, since they last agreed."""

    SAME = "same", "Same as its file"
    FILE_CHANGED = "file changed", "The file was edited: `profiles sync` reads it"
    ROW_CHANGED = "profile changed", "Edited here: `profiles export` writes the file"
    CONFLICT = "conflict", "Both were edited: `profiles sync --take file` or `--take profile`"
    NO_FILE = "no file", "It has no file"
    FILE_GONE = "file gone", "Its file was deleted"


@dataclass(slots=True)
class Synced:
    """What a sync did, by slug."""

    imported: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    edited_here: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)  # files; the profiles stay
    errors: list[ProfileInvalidError] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**values, "errors": [str(error) for error in self.errors]}


def sync(folder: Path, *, take: str = "", author: str = "profiles sync") -> Synced:
    """Read the profiles of a folder that are new or were edited there; write nothing there.

    A profile that was edited in MAGI is left alone, and so are both sides of one that was
    edited on both. A file that is no profile is an error of its own; the others are read.

    Args:
        take: which side wins where both were edited: `file` or `profile`.
    """
    synced = Synced()
    texts = _read_folder(folder, synced)
    profiles = {profile.slug: profile for profile in Profile.objects.all()}
    parents = {slug: _extends(text) for slug, text in texts.items()}
    for slug in _parents_first(parents):
        if circle := _circle(parents, slug):
            problem = Problem(None, "extends", f"A circle: {' extends '.join(circle)}.")
            synced.errors.append(ProfileFileError(f"{slug}{SUFFIX}", [problem]))
            continue
        profile = profiles.get(slug)
        state = state_of(profile, texts[slug]) if profile else FileState.FILE_CHANGED
        if state == FileState.SAME:
            synced.unchanged.append(slug)
        elif state == FileState.ROW_CHANGED:
            synced.edited_here.append(slug)
        elif state == FileState.CONFLICT and take == "profile" and profile is not None:
            Profile.objects.filter(pk=profile.pk).update(file_hash=text_hash(texts[slug]))
            synced.edited_here.append(slug)
        elif state == FileState.CONFLICT and take != "file" and _differ(profile, texts[slug]):
            synced.conflicts.append(slug)
        else:
            _import(slug, texts[slug], author, synced, is_new=profile is None)
    synced.gone += sorted(
        slug for slug, row in profiles.items() if row.file_hash and slug not in texts
    )
    return synced


def state_of(profile: Profile, file_text: str | None) -> FileState:
    """Compare a profile with its file; None when there is none."""
    if file_text is None:
        return FileState.FILE_GONE if profile.file_hash else FileState.NO_FILE
    now = text_hash(file_text)
    if profile.yaml == file_text:
        return FileState.SAME if profile.file_hash == now else FileState.FILE_CHANGED
    is_row_edited = text_hash(profile.yaml) != profile.file_hash
    if not is_row_edited:
        return FileState.FILE_CHANGED
    return FileState.ROW_CHANGED if profile.file_hash == now else FileState.CONFLICT


def file_state(profile: Profile, folder: Path) -> FileState:
    try:
        return state_of(profile, read_text(folder / f"{profile.slug}{SUFFIX}"))
    except FileNotFoundError:
        return state_of(profile, None)
    except (OSError, ProfileFileError):
        return FileState.CONFLICT


def conflict_lines(profile: Profile, folder: Path) -> list[str]:
    """Return how the file would change the profile, a line for each value.

    Raises:
        ProfileInvalidError: the file is no profile.
        OSError: it cannot be read.
    """
    return _changes(profile, read_text(folder / f"{profile.slug}{SUFFIX}"))


def _differ(profile: Profile | None, text: str) -> bool:
    """Whether a file says something else than a profile; one that cannot be read does."""
    try:
        return profile is None or bool(_changes(profile, text))
    except ProfileInvalidError:
        return True


def _changes(profile: Profile, text: str) -> list[str]:
    return changes(as_document(profile), read_profile(text, slug=profile.slug).document)


def yaml_of(profile: Profile) -> str:
    """Return a profile's YAML: as it was written, or made of its rows."""
    return profile.yaml or compose(None, as_document(profile), profile.extends)


def write_file(profile: Profile, folder: Path, *, force: bool = False) -> Path:
    """Write a profile's file, whole or not at all, and return its path.

    Raises:
        ProfileFileConflictError: the file was edited since it was last read.
        ProfileFileError: it is a link that leads out of the folder.
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{profile.slug}{SUFFIX}"  # a slug has no slash and no dot
    _refuse_a_way_out(path)
    text = yaml_of(profile)
    if path.exists() and not force:
        try:
            old = read_text(path)
        except ProfileFileError:
            old = ""
        if old != text and text_hash(old) != profile.file_hash:
            raise ProfileFileConflictError(profile.slug)
    _write_whole(path, text)
    hashed = text_hash(text)
    with transaction.atomic():
        Profile.objects.filter(pk=profile.pk).update(file_hash=hashed, yaml=text)
        audit.record(Action.EXPORT, profile, after={"file": path.name})
    profile.file_hash, profile.yaml = hashed, text
    return path


def _write_whole(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", newline="", dir=path.parent, prefix=".", delete=False
    ) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).chmod(0o644)  # as a file is that an editor makes
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _read_folder(folder: Path, synced: Synced) -> dict[str, str]:
    texts = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            if not _SLUG.fullmatch(path.stem):
                raise _file_error(
                    path, "its name is not of lower-case letters, digits, - and _"
                )
            texts[path.stem] = read_text(path)
        except ProfileFileError as error:
            synced.errors.append(error)
        except OSError as error:
            synced.errors.append(_file_error(path, f"cannot be read: {error.strerror}"))
    return texts


def read_text(path: Path) -> str:
    """Return the text of a profile file.

    Raises:
        ProfileFileError: it is too large, no regular file, not UTF-8, or a link that leads
            out of its folder.
        OSError: it cannot be read.
    """
    _refuse_a_way_out(path)
    if not path.is_file() and path.exists():
        raise _file_error(path, "is no regular file")
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise _file_error(path, f"is larger than {MAX_BYTES:,} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ProfileFileError(path.name, [Problem(line, "", "is not UTF-8")]) from error


def _refuse_a_way_out(path: Path) -> None:
    """Hold a link against its folder: of a ConfigMap, they lead to a folder beside them."""
    folder = os.path.realpath(path.parent)
    if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(folder):
        raise _file_error(path, "is a link that leads out of the folder of profiles")


def _file_error(path: Path, message: str) -> ProfileFileError:
    return ProfileFileError(path.name, [Problem(None, "", message)])


def _import(slug: str, text: str, author: str, synced: Synced, *, is_new: bool) -> None:
    try:
        save_yaml(text, slug=slug, author=author, is_file=True)
    except ProfileInvalidError as error:
        synced.errors.append(ProfileFileError(f"{slug}{SUFFIX}", error.problems))
    else:
        (synced.imported if is_new else synced.updated).append(slug)


def _circle(parents: dict[str, str | None], slug: str) -> list[str]:
    """Return the way from a file back to itself; empty if there is none."""
    chain, step = [slug], parents[slug]
    while step in parents and step not in chain:
        chain.append(step)
        step = parents[step]
    return [*chain, slug] if step == slug and len(chain) > 1 else []


def _parents_first(parents: dict[str, str | None]) -> Iterator[str]:
    """Yield the slugs so that what a profile extends comes before it; a circle as it comes."""
    done: set[str] = set()
    for slug in parents:
        chain: list[str] = []
        step: str | None = slug
        while step in parents and step not in done and step not in chain:
            chain.append(step)
            step = parents[step]
        done.update(chain)
        yield from reversed(chain)


def _extends(text: str) -> str | None:
    try:
        extends = flat(read_yaml(text).data).get("extends")
    except ProfileInvalidError:
        return None
    return extends if isinstance(extends, str) else None
