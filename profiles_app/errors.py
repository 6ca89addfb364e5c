"""Errors raised by profiles_app.

ProfilesError
├── ProfileNotFoundError       no profile of that name
└── ProfileFileError           a YAML file is not a profile
"""


class ProfilesError(Exception):
    """Base class of every error this app raises on purpose."""


class ProfileNotFoundError(ProfilesError):
    """Names what there is, so that a typing error is seen at once."""

    def __init__(self, name: str, available: list[str]) -> None:
        there = ", ".join(available) or "none"
        super().__init__(f"Profile '{name}' not found. Available: {there}")


class ProfileFileError(ProfilesError):
    def __init__(self, filename: str, reason: str) -> None:
        super().__init__(f"{filename}: {reason}")
        self.reason = reason
