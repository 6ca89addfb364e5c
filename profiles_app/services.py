"""Changes to profiles. What an activation does to servers is servers_app's."""

import logging
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from rest_framework.settings import api_settings

from profiles_app.errors import ProfileFileError, ProfileNotFoundError
from profiles_app.models import Profile, TierRule
from profiles_app.profilefile import read_profile_file
from profiles_app.serializers import DEFAULT_TIERS, ProfileSerializer

log = logging.getLogger(__name__)

DEFAULT_PROFILE = "development"


def get_profile(name: str) -> Profile:
    """Return the profile whose file stem is `name`.

    Raises:
        ProfileNotFoundError: there is none; the message lists those there are.
    """
    try:
        return Profile.objects.get(slug=name)
    except Profile.DoesNotExist as error:
        available = list(Profile.objects.values_list("slug", flat=True))
        raise ProfileNotFoundError(name, available) from error


def profile_to_load() -> Profile:
    """Return the profile to start with: MAGI_PROFILE, else the active one, else the default.

    Raises:
        ProfileNotFoundError: MAGI_PROFILE, or the default, is not there.
    """
    if settings.MAGI_PROFILE:
        return get_profile(settings.MAGI_PROFILE)
    return Profile.objects.filter(is_active=True).first() or get_profile(DEFAULT_PROFILE)


@transaction.atomic
def make_active(profile: Profile) -> None:
    """Make `profile` the one active profile."""
    others = Profile.objects.filter(is_active=True).exclude(pk=profile.pk)
    others.update(is_active=False)
    Profile.objects.filter(pk=profile.pk).update(is_active=True)
    profile.is_active = True


def add_default_tiers(profile: Profile) -> None:
    """Give a new profile the three tiers of the guide."""
    TierRule.objects.bulk_create(
        TierRule(profile=profile, position=position, **tier)
        for position, tier in enumerate(DEFAULT_TIERS)
    )


def import_new_profiles(folder: Path) -> list[ProfileFileError]:
    """Import every `*.yaml` of `folder` that is no profile yet; return what was not one.

    A profile that is there is left alone, so that a person's changes are never lost.
    """
    known = set(Profile.objects.values_list("slug", flat=True))
    errors = []
    for path in sorted(folder.glob("*.yaml")):
        if path.stem in known:
            continue
        try:
            _import_profile(path)
        except ProfileFileError as error:
            log.warning("Profile file skipped: %s", error)
            errors.append(error)
    return errors


def _import_profile(path: Path) -> Profile:
    serializer = ProfileSerializer(data=read_profile_file(path))
    if not serializer.is_valid():
        raise ProfileFileError(path.name, "; ".join(_sentences(serializer.errors)))
    return serializer.save(slug=path.stem)


def _sentences(errors: Any, where: str = "") -> list[str]:
    """Flatten DRF's nested errors: `tier_config[1].name: "x" is not a valid choice.`"""
    if not isinstance(errors, dict):
        return [f"{where}: {error}" for error in errors]
    return [
        sentence
        for key, value in errors.items()
        for sentence in _sentences(value, _place(where, key))
    ]


def _place(where: str, key: str | int) -> str:
    if isinstance(key, int):
        return f"{where}[{key}]"
    if key == api_settings.NON_FIELD_ERRORS_KEY:
        return where or "the file"
    return f"{where}.{key}" if where else key
