"""Changes to profiles: each is checked whole, saved at once, and leaves a version.

What an activation does to servers is servers_app's.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils.text import slugify

from models_app import audit
from models_app.audit_models import Action
from models_app.events import PROFILE, publish
from profiles_app.document import Document, changes, flat, written
from profiles_app.engines import engine_problems
from profiles_app.errors import (
    NoActiveProfileError,
    Problem,
    ProfileChangedError,
    ProfileExistsError,
    ProfileInUseError,
    ProfileInvalidError,
    ProfileNotFoundError,
    VersionNotFoundError,
)
from profiles_app.models import Profile, ProfileVersion
from profiles_app.reading import Reading, find_parent, line_of, read_profile
from profiles_app.rows import as_document, write_rows
from profiles_app.serializers import ProfileSerializer, defaults, problems_of
from profiles_app.variables import path_text
from profiles_app.yamltext import read_yaml, rewrite_yaml

DEFAULT_PROFILE = "development"


def get_profile(name: str) -> Profile:
    """Return the profile whose file stem is `name`.

    Raises:
        ProfileNotFoundError: there is none; the message lists those there are.
    """
    try:
        return Profile.objects.select_related("extends").get(slug=name)
    except Profile.DoesNotExist as error:
        available = list(Profile.objects.values_list("slug", flat=True))
        raise ProfileNotFoundError(name, available) from error


def active_profile() -> Profile | None:
    return Profile.objects.select_related("extends").filter(is_active=True).first()


def require_active_profile() -> Profile:
    """Return the active profile.

    Raises:
        NoActiveProfileError: none has been activated yet.
    """
    profile = active_profile()
    if profile is None:
        raise NoActiveProfileError(list(Profile.objects.values_list("slug", flat=True)))
    return profile


def profile_to_load() -> Profile:
    """Return the profile to start with: MAGI_PROFILE, else the active one, else the default.

    Raises:
        ProfileNotFoundError: MAGI_PROFILE, or the default, is not there.
    """
    if settings.MAGI_PROFILE:
        return get_profile(settings.MAGI_PROFILE)
    return active_profile() or get_profile(DEFAULT_PROFILE)


@transaction.atomic
def make_active(profile: Profile, *, author: str = "") -> None:
    """Make `profile` the one active profile."""
    active = Profile.objects.select_for_update().filter(is_active=True)
    before = {"active": active.values_list("slug", flat=True).first()}
    Profile.objects.filter(is_active=True).exclude(pk=profile.pk).update(is_active=False)
    Profile.objects.filter(pk=profile.pk).update(is_active=True)
    after = {"active": profile.slug}
    audit.record_change(Action.ACTIVATE, profile, before, after, who=author)
    profile.is_active = True
    _tell(profile.slug)


def slug_of(name: str) -> str:
    """Return the file stem for a profile's name.

    >>> slug_of("My Custom Profile")
    'my-custom-profile'
    """
    return slugify(name)[:100]


@transaction.atomic
def save_yaml(
    text: str,
    *,
    slug: str = "",
    author: str = "",
    seen: int | None = None,
    is_new: bool = False,
    is_file: bool = False,
) -> Profile:
    """Make or change the profile `slug` to what a YAML text says; every letter is kept.

    Args:
        slug: of the profile; without it, the name in the text says which.
        author: who did it, for its version.
        seen: the version that the change was made of; None for whichever there is.
        is_new: refuse to change one that is there.
        is_file: whether the text is that of the profile's file.

    Raises:
        ProfileExistsError: it is there, and should be new.
        ProfileInvalidError: the text is no profile; nothing has changed.
        ProfileChangedError: the profile is not the version seen any more.
    """
    slug = slug or slug_in(text)
    profile = _lock(slug, seen)
    if is_new and profile is not None:
        raise ProfileExistsError(slug)
    reading = read_profile(text, slug=slug)
    action = Action.IMPORT if is_file else Action.UPDATE
    return _store(profile or Profile(slug=slug), reading, author=author, action=action)


@transaction.atomic
def save_document(
    document: Mapping[str, Any],
    *,
    slug: str = "",
    author: str = "",
    seen: int | None = None,
    is_new: bool = False,
) -> Profile:
    """Make or change a profile to a whole document; its text keeps what does not change.

    Args: as save_yaml takes them.

    Raises: as save_yaml.
    """
    slug = slug or slug_of(str(document.get("name", "")))
    profile = _lock(slug, seen)
    if is_new and profile is not None:
        raise ProfileExistsError(slug)
    parent, why_not = find_parent(document.get("extends"), slug)
    wanted = _checked(document, [Problem(None, "extends", why_not)] if why_not else [])
    reading = read_profile(compose(profile, wanted, parent), slug=slug)
    if reading.document != wanted:
        # What stands in the old text means something else under another parent.
        reading = read_profile(rewrite_yaml("", written(wanted, base={})), slug=slug)
    return _store(profile or Profile(slug=slug), _lineless(reading), author=author)


@transaction.atomic
def save_rows(profile: Profile, *, author: str = "") -> Profile:
    """Take over what a form has written into a profile's rows, as save_document would.

    Raises:
        ProfileInvalidError: the rows are no profile.
    """
    wanted = _checked(as_document(profile))
    before = None
    if profile.yaml:
        before = read_profile(profile.yaml, slug=profile.slug).document
    text = compose(profile, wanted, profile.extends, before=before)
    reading = read_profile(text, slug=profile.slug)
    return _store(profile, _lineless(reading), author=author, before=before or {})


@transaction.atomic
def change_members(
    profile: Profile, *, add: Sequence[str] = (), remove: Sequence[str] = (), author: str = ""
) -> Profile:
    """Enable models in a profile, behind those it enables already, and disable others."""
    profile = _lock(profile.slug, None) or profile  # two who enable at once both count
    document = as_document(profile)
    members = [m for m in document["enabled_models"] if _id_of(m) not in remove]
    there = {_id_of(member) for member in members}
    document["enabled_models"] = [*members, *(id_ for id_ in add if id_ not in there)]
    return save_document(document, slug=profile.slug, author=author)


def compose(
    profile: Profile | None,
    document: Document,
    parent: Profile | None,
    *,
    before: Document | None = None,
) -> str:
    """Return the text that comes to `document`: the profile's own, where it can stay.

    Args:
        before: what the profile's text comes to; without it, what its rows do.
    """
    base = as_document(parent) if parent else defaults()
    text = profile.yaml if profile else ""
    if profile is None or not text:
        return rewrite_yaml("", written(document, base=base))
    raw = read_yaml(text).data
    before = before or as_document(profile)
    return rewrite_yaml(text, written(document, base=base, before=before, text=raw))


@transaction.atomic
def roll_back(slug: str, number: int, *, author: str = "") -> Profile:
    """Make a profile what it was in version `number`, as a new version; it may be deleted.

    Raises:
        ProfileNotFoundError: there is no profile of that name, and never was.
        VersionNotFoundError: it has no such version.
        ProfileInvalidError: that version is no profile any more: what it extends has gone.
    """
    versions = ProfileVersion.objects.filter(slug=slug)
    version = versions.filter(number=number).first()
    if version is None:
        newest = versions.aggregate(newest=Max("number"))["newest"] or get_profile(slug).version
        raise VersionNotFoundError(slug, number, newest)
    profile = _lock(slug, None) or Profile(slug=slug)
    summary = f"rolled back to version {number}"
    reading = read_profile(version.yaml, slug=slug)
    return _store(profile, reading, author=author, summary=summary, action=Action.ROLLBACK)


@transaction.atomic
def delete_profile(profile: Profile, *, author: str = "") -> None:
    """Delete a profile; its versions stay.

    Raises:
        ProfileInUseError: it is the active one, or others extend it.
    """
    locked = Profile.objects.select_for_update().get(pk=profile.pk)
    if locked.is_active:
        msg = f"Profile '{locked.slug}' is active. Activate another one, then delete it."
        raise ProfileInUseError(msg)
    if children := list(locked.children.values_list("slug", flat=True)):
        msg = (
            f"Profile '{locked.slug}' is extended by {', '.join(children)}. Change them first."
        )
        raise ProfileInUseError(msg)
    audit.record(Action.DELETE, locked, before=as_document(locked), who=author)
    _keep_version(locked, "deleted", author)
    locked.delete()
    _tell(locked.slug)


def refresh_variables() -> list[ProfileInvalidError]:
    """Read profiles with `${VARIABLES}` anew, for what those are now.

    Returns:
        what is wrong with those that keep their old values.
    """
    errors = []
    for profile in Profile.objects.filter(yaml__contains="${").select_related("extends"):
        try:
            reading = read_profile(profile.yaml, slug=profile.slug)
            if reading.document != as_document(profile):
                with transaction.atomic():
                    _store(profile, reading, author="", summary="variables have changed")
        except ProfileInvalidError as error:
            errors.append(ProfileInvalidError(error.problems, of=profile.slug))
    return errors


def text_hash(text: str | bytes) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def slug_in(text: str) -> str:
    """Return the slug for the name that a text gives itself; empty if it gives none."""
    try:
        data = read_yaml(text).data
    except ProfileInvalidError:
        return ""  # the reading that follows says what is wrong
    return slug_of(str(flat(data).get("name") or ""))


def _checked(document: Mapping[str, Any], problems: Sequence[Problem] = ()) -> Document:
    """Return a document with every default in it; raise all that is wrong with it."""
    serializer = ProfileSerializer(data=dict(document))
    found = [] if serializer.is_valid() else problems_of(serializer.errors)
    problems = [*problems, *(Problem(None, path_text(path), text) for path, text in found)]
    if problems:
        raise ProfileInvalidError(problems)
    return dict(serializer.validated_data)


def _lineless(reading: Reading) -> Reading:
    """Return a reading of a text that nobody has seen: its lines say nothing to them."""
    return replace(reading, lines={})


def _lock(slug: str, seen: int | None) -> Profile | None:
    """Return the row, which nobody else changes until the transaction ends."""
    profile = Profile.objects.select_for_update().filter(slug=slug).first()
    if profile is not None and seen is not None and profile.version != seen:
        versions = ProfileVersion.objects.filter(slug=slug, number=profile.version)
        author = versions.values_list("author", flat=True).first() or ""
        raise ProfileChangedError(slug, profile.version, author)
    return profile


def _store(
    profile: Profile,
    reading: Reading,
    *,
    author: str,
    summary: str = "",
    action: Action = Action.UPDATE,
    before: Document | None = None,
) -> Profile:
    """Write what a text comes to, and a version of it; those who extend it follow.

    Args:
        action: how the audit calls it; an import is of the profile's file.
    """
    text, is_file = reading.text, action == Action.IMPORT
    if before is None:
        before = as_document(profile) if profile.pk else {}
    changed = changes(before, reading.document) if before else []
    if before and not changed and text == profile.yaml and not is_file:
        return profile
    _refuse_what_its_engine_lacks(reading)
    profile.yaml = text
    if is_file:
        profile.file_hash = text_hash(text)
    try:
        with transaction.atomic():
            write_rows(profile, reading.document, extends=reading.parent)
    except IntegrityError as error:  # all else was checked: somebody else made it meanwhile
        raise ProfileExistsError(profile.slug) from error
    if not before:
        summary = summary or "created"
    seen = profile.version
    _keep_version(profile, "; ".join(filter(None, [summary, *changed])) or "text only", author)
    audit.record(
        action if before or action != Action.UPDATE else Action.CREATE,
        profile,
        before={**before, "version": seen} if before else None,
        after={**reading.document, "version": profile.version},
        who=author,
    )
    _tell(profile.slug)
    for child in profile.children.exclude(yaml=""):
        _follow(child, profile.slug, author)
    return profile


def _refuse_what_its_engine_lacks(reading: Reading) -> None:
    # Here, not where a text is read: a profile whose engine has changed can be mended.
    problems = [
        Problem(line_of(reading.lines, path), path_text(path), sentence)
        for path, sentence in engine_problems(reading.document)
    ]
    if problems:
        raise ProfileInvalidError(problems)


def _follow(child: Profile, parent: str, author: str) -> None:
    try:
        reading = read_profile(child.yaml, slug=child.slug)
        _store(child, reading, author=author, summary=f"{parent} has changed")
    except ProfileInvalidError as error:
        raise ProfileInvalidError(error.problems, of=child.slug) from error


def _keep_version(profile: Profile, summary: str, author: str) -> None:
    document = as_document(profile)
    newest = ProfileVersion.objects.filter(slug=profile.slug).aggregate(n=Max("number"))["n"]
    profile.version = (newest or 0) + 1
    if profile.pk:
        Profile.objects.filter(pk=profile.pk).update(version=profile.version)
    ProfileVersion.objects.create(
        slug=profile.slug,
        number=profile.version,
        yaml=profile.yaml or compose(None, document, profile.extends),
        document=document,
        summary=summary,
        author=author,
    )


def _id_of(member: str | Mapping[str, Any]) -> str:
    return member if isinstance(member, str) else str(member["model_id"])


def _tell(slug: str) -> None:
    transaction.on_commit(partial(publish, PROFILE, {"profile": slug}))
