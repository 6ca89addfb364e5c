"""Look into a scan root without scanning it: can it be read, and what is there?"""

from dataclasses import dataclass
from pathlib import Path

from models_app.errors import ScanRootError
from models_app.models import ScanRoot
from models_app.scanroots import RootSpec, list_root


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look into a folder found; its text is a sentence for a person."""

    is_readable: bool
    text: str

    def __str__(self) -> str:
        return self.text


def look_into(root: ScanRoot) -> Finding:
    """Walk a root as a scan would, without opening a file.

    It says what this machine sees: a root of another node is that node's to test.
    """
    try:
        listing = list_root(RootSpec(Path(root.path), root.kind))
    except ScanRootError as error:
        return Finding(is_readable=False, text=f"{error.reason}.")
    text = f"{len(listing.models)} model files, {len(listing.skipped)} others."
    if listing.errors:
        folder, reason = listing.errors[0]
        text += f" {len(listing.errors)} folders cannot be read, such as {folder}: {reason}."
    return Finding(is_readable=True, text=text)
