"""Profiles from Python, under the names of the profile documents (seed 001).

manager = ProfileManager()
manager.list_profiles()                      # ['development', 'fast-only', 'production']
profile = manager.load_profile("development")
profile.two_stage.enabled, profile.tier_config[0].max_score
"""

import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from django.conf import settings

from profiles_app import services
from profiles_app.document import Document
from profiles_app.files import write_file
from profiles_app.models import Profile
from profiles_app.rows import as_document


class ProfileValues(Mapping[str, Any]):
    """A profile's document whose sections are attributes, too; it only reads.

    A tier without a limit has `max_score` inf, and `enabled_models` are ids.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self.enabled_models = [
            member if isinstance(member, str) else member["model_id"]
            for member in document["enabled_models"]
        ]
        self.tier_config = [
            SimpleNamespace(**{**tier, "max_score": _limit(tier["max_score"])})
            for tier in document["tier_config"]
        ]

    def __getattr__(self, name: str) -> Any:
        if name not in self._document:
            raise AttributeError(name)
        value = self._document[name]
        return SimpleNamespace(**value) if isinstance(value, dict) else value

    def __getitem__(self, name: str) -> Any:
        return self._document[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._document)

    def __len__(self) -> int:
        return len(self._document)


class ProfileManager:
    """The rows are the profiles; `profiles_dir` is where `save_profile` writes their files."""

    def __init__(self, profiles_dir: Path | None = None) -> None:
        self.profiles_dir = profiles_dir or Path(settings.MAGI_PROFILES_DIR)

    def list_profiles(self) -> list[str]:
        return list(Profile.objects.values_list("slug", flat=True))

    def load_profile(self, name: str) -> ProfileValues:
        """Return the profile whose file stem is `name`.

        Raises:
            ProfileNotFoundError: there is none; the message lists those there are.
        """
        return ProfileValues(as_document(services.get_profile(name)))

    def save_profile(self, profile: Mapping[str, Any]) -> Path:
        """Save a whole profile, as row and as file; return the file's path.

        Raises:
            ProfileInvalidError: it is none; nothing was saved.
            ProfileFileConflictError: (the row is saved) its file was edited meanwhile.
        """
        return write_file(services.save_document(dict(profile)), self.profiles_dir)

    def delete_profile(self, name: str) -> None:
        """Delete a profile and its file.

        Raises:
            ProfileNotFoundError: there is none.
            ProfileInUseError: it is active, or others extend it.
        """
        profile = services.get_profile(name)
        services.delete_profile(profile)
        (self.profiles_dir / f"{profile.slug}.yaml").unlink(missing_ok=True)

    def validate_profile(
        self, profile: Mapping[str, Any], available_model_ids: Collection[str]
    ) -> list[str]:
        """Return the enabled models that are not among those available."""
        members = profile["enabled_models"]
        ids = [member if isinstance(member, str) else member["model_id"] for member in members]
        return [model_id for model_id in ids if model_id not in available_model_ids]


def _limit(score: float | None) -> float:
    return math.inf if score is None else score
