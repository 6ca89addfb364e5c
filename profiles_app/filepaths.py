"""The files that run settings name: they lie in the scan roots, or no server gets them.

Who may edit a profile would read any file of the server's user otherwise, or at least
learn which there are.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from models_app.models import ScanRoot
from models_app.roots import is_in, lies_in_scan_root
from profiles_app.extraargs import Problem
from profiles_app.runsettings import adapters

_WORDS = ("auto", "none")
_WHAT_TO_DO = "Move it there, or have an administrator add its folder."


def misplaced_files(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield which files of checked run settings lie in no scan root of any machine.

    Of this machine, links are followed; another one follows its own when it launches.
    """
    named = list(_named(values))
    if not named:
        return
    elsewhere = ScanRoot.objects.exclude(node=settings.MAGI_NODE)
    roots = [Path(path) for path in elsewhere.values_list("path", flat=True)]
    for place, path in named:
        written = Path(os.path.normpath(path))
        if not any(is_in(written, root) for root in roots) and not lies_in_scan_root(path):
            yield place, f"{path} lies in no scan root. {_WHAT_TO_DO}"


def why_not_launched(values: Mapping[str, Any]) -> str:
    """Return which file of resolved run settings this machine gives no server, and why."""
    for place, path in _named(values):
        if not lies_in_scan_root(path):
            where = "in no scan root of this machine, links followed"
            return f"{place}: {path} lies {where}. {_WHAT_TO_DO}"
    return ""


def _named(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield where a file is named, and its path."""
    for name in ("mmproj", "model_draft"):
        if (path := values.get(name)) and path not in _WORDS:
            yield name, path
    for index, adapter in enumerate(adapters(values.get("lora") or ())):
        yield f"lora[{index}]", adapter.path
