"""Errors raised by profiles_app.

ProfilesError
├── ProfileNotFoundError       no profile of that name
├── NoActiveProfileError       none has been activated yet
├── ProfileInvalidError        what was given is no profile
│   ├── YamlProblemError       a text is not YAML, or not such as we take
│   └── ProfileFileError       a YAML file is not a profile
├── ProfileFileConflictError   a file was edited since it was last read
├── ProfileExistsError         a new profile has the name of one there is
├── ProfileChangedError        somebody else has saved it meanwhile
├── ProfileInUseError          it cannot be deleted: it is active, or others extend it
├── ProfileNotActivatedError   validation found errors in it
├── VersionNotFoundError       it has no version of that number
├── PresetNotFoundError        no preset, or no model preset, of that name
├── PresetInvalidError         what was given is no preset
│   └── PresetFileError        a TOML file cannot be read, or holds what is no preset
├── PresetExistsError          a new preset has the name of one there is
└── PresetInUseError           it cannot be deleted: profiles name it
"""

from collections.abc import Sequence
from typing import NamedTuple


class ProfilesError(Exception):
    """Base class of every error this app raises on purpose."""


class ProfileNotFoundError(ProfilesError):
    """Names what there is, so that a typing error is seen at once."""

    def __init__(self, name: str, available: list[str]) -> None:
        there = ", ".join(available) or "none"
        super().__init__(f"Profile '{name}' not found. Available: {there}")


class NoActiveProfileError(ProfilesError):
    def __init__(self, available: list[str]) -> None:
        there = ", ".join(available) or "none"
        super().__init__(f"No profile is active. Activate one of: {there}")


class Problem(NamedTuple):
    """One thing that is wrong, and where; the line is that of the YAML, if there is one."""

    line: int | None
    path: str  # tier_config[1].max_score
    message: str

    def __str__(self) -> str:
        line = f"line {self.line}: " if self.line else ""
        return f"{line}{self.path}: {self.message}" if self.path else f"{line}{self.message}"


class ProfileInvalidError(ProfilesError):
    """Says everything at once."""

    def __init__(self, problems: Sequence[Problem], *, of: str = "") -> None:
        listed = "; ".join(map(str, problems))
        super().__init__(f"{of}: {listed}" if of else listed)
        self.problems = list(problems)


class YamlProblemError(ProfileInvalidError):
    pass


class ProfileFileConflictError(ProfilesError):
    def __init__(self, slug: str) -> None:
        super().__init__(
            f"{slug}.yaml was edited since MAGI last read it; it was not overwritten. "
            "`manage.py profiles sync` shows what differs; --force overwrites it."
        )


class ProfileFileError(ProfileInvalidError):
    def __init__(self, filename: str, problems: Sequence[Problem]) -> None:
        super().__init__(problems, of=filename)
        self.filename = filename


class ProfileExistsError(ProfilesError):
    def __init__(self, slug: str) -> None:
        super().__init__(f"Profile '{slug}' exists already. Choose another name, or change it.")


class ProfileChangedError(ProfilesError):
    def __init__(self, slug: str, version: int, author: str) -> None:
        super().__init__(
            f"Profile '{slug}' was changed meanwhile: {author or 'somebody'} saved version "
            f"{version}. Nothing of yours was saved: load it again and repeat your change."
        )


class ProfileInUseError(ProfilesError):
    pass


class ProfileNotActivatedError(ProfilesError):
    """Carries what validation found; `force` activates what can be activated."""

    def __init__(self, slug: str, errors: Sequence[str]) -> None:
        super().__init__(
            f"Profile '{slug}' was not activated: {' '.join(errors)} "
            "Mend it, or activate it all the same with force."
        )
        self.errors = list(errors)


class VersionNotFoundError(ProfilesError):
    def __init__(self, slug: str, number: int, newest: int) -> None:
        there = f"It has versions 1 to {newest}." if newest else "It has none."
        super().__init__(f"Profile '{slug}' has no version {number}. {there}")


class PresetNotFoundError(ProfilesError):
    """Names what there is; `kind` is "preset" or "model preset"."""

    def __init__(self, name: str, available: Sequence[str], *, kind: str = "preset") -> None:
        there = ", ".join(available) or "none"
        super().__init__(f"{kind.capitalize()} '{name}' not found. Available: {there}.")


class PresetInvalidError(ProfilesError):
    """Says everything at once, one problem a line."""

    def __init__(self, problems: Sequence[Problem], *, of: str) -> None:
        separator = " " if len(problems) == 1 else "\n  "
        super().__init__(separator.join([f"{of}:", *map(str, problems)]))
        self.problems = list(problems)


class PresetFileError(PresetInvalidError):
    """Nothing of the file was taken over."""

    def __init__(self, filename: str, problems: Sequence[Problem]) -> None:
        super().__init__(problems, of=filename)


class PresetExistsError(ProfilesError):
    def __init__(self, name: str, there: str) -> None:
        same = "exists already" if name == there else f"differs only in case from '{there}'"
        super().__init__(f"Preset '{name}' {same}. Choose another name, or change that one.")


class PresetInUseError(ProfilesError):
    def __init__(self, name: str, profiles: Sequence[str]) -> None:
        super().__init__(
            f"Preset '{name}' is that of {', '.join(profiles)}. Give those another one first."
        )
