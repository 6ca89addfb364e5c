"""Read a profile's YAML, in the nested form (`profile: {name: …}`) or the flat one.

What the values may be is ProfileSerializer's business, for files as for the API.
"""

from pathlib import Path
from typing import Any

import yaml

from profiles_app.errors import ProfileFileError

MAX_FILE_BYTES = 256 * 1024


def read_profile_file(path: Path) -> dict[str, Any]:
    """Return the profile in `path` as the API's JSON has it.

    Raises:
        ProfileFileError: it cannot be read, is too large, or is not a YAML mapping.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ProfileFileError(path.name, f"cannot be read: {error.strerror}") from error
    if len(raw) > MAX_FILE_BYTES:
        raise ProfileFileError(path.name, f"is larger than {MAX_FILE_BYTES} bytes")
    try:
        document = yaml.safe_load(raw)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise ProfileFileError(path.name, f"is not YAML{where}") from error
    if not isinstance(document, dict):
        raise ProfileFileError(path.name, "is not a mapping of names to values")
    return flat(document)


def flat(document: dict[str, Any]) -> dict[str, Any]:
    """Lift what stands under `profile:` to the top, where the flat form has it.

    >>> flat({"profile": {"name": "A"}, "enabled_models": []})
    {'enabled_models': [], 'name': 'A'}
    """
    nested = document.get("profile")
    rest = {str(key): value for key, value in document.items() if key != "profile"}
    return {**rest, **nested} if isinstance(nested, dict) else rest
