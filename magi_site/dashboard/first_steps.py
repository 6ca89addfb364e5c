"""What there is to do before anything runs: the first thing that is still to be done."""

from typing import NamedTuple

from django.contrib.auth.models import AnonymousUser, User
from django.urls import reverse

from magi_site.dashboard.registry import Registry
from models_app.models import DiscoveredModel, ScanRoot
from profiles_app.models import Profile, ProfileMember

NAMED = 3  # folders
NO_RIGHTS = "Your account may see nothing of MAGI. Ask an admin to put it into a group."


class Link(NamedTuple):
    label: str
    url: str


class FirstStep(NamedTuple):
    title: str
    text: str
    links: list[Link]  # that who looks may open


def first_step(
    user: User | AnonymousUser, registry: Registry | None, profile: Profile | None
) -> FirstStep | None:
    """Return what comes next, of what `user` may see."""
    if not user.get_all_permissions():
        return FirstStep("Nothing to see yet", NO_RIGHTS, [])
    if registry is not None and not registry.present:
        return _find_models(user)
    if not user.has_perm("profiles_app.view_profile"):
        return None
    if profile is None:
        return _activate(user)
    enabled = ProfileMember.objects.filter(profile=profile).values("model_id")
    if DiscoveredModel.objects.filter(model_id__in=enabled, is_missing=False).exists():
        return None
    return FirstStep(
        f"{profile} enables no model that is here",
        "Nothing runs that nobody enabled. Enable models in the list, or switch to another "
        "profile.",
        _links(user, ("Models", "models_app_discoveredmodel", "changelist", "view")),
    )


def _find_models(user: User | AnonymousUser) -> FirstStep:
    roots = ScanRoot.objects.filter(is_enabled=True).values_list("path", flat=True)
    links = _links(
        user,
        ("Scan roots", "models_app_scanroot", "changelist", "view"),
        ("Add a scan root", "models_app_scanroot", "add", "add"),
    )
    if user.has_perm("models_app.add_download"):
        links.append(Link("Get models", reverse("admin:get_models")))
    if not roots:
        text = (
            "No folder is looked into. Set MODEL_SCAN_PATH and start MAGI anew, or add a scan "
            "root. Then rescan."
        )
        return FirstStep("No models yet", text, links)
    if not user.has_perm("models_app.view_scanroot"):
        where = "the scan roots"
    else:
        more = f" and {len(roots) - NAMED} more" if len(roots) > NAMED else ""
        where = ", ".join(roots[:NAMED]) + more
    text = (
        f"No GGUF file was found in {where}. Put models there, set MODEL_SCAN_PATH, or add "
        "another scan root. Then rescan."
    )
    return FirstStep("No models yet", text, links)


def _activate(user: User | AnonymousUser) -> FirstStep:
    title = "No profile is active: nothing runs"
    if Profile.objects.exists():
        text = "Choose one above, and see its plan before you activate it."
        return FirstStep(title, text, [])
    text = "A profile says which models run, and how. There is none yet: make one."
    return FirstStep(
        title, text, _links(user, ("Add a profile", "profiles_app_profile", "add", "add"))
    )


def _links(user: User | AnonymousUser, *links: tuple[str, str, str, str]) -> list[Link]:
    """Return links to pages: each a label, its rows, which page, and the right to it."""
    shown = []
    for label, rows, page, action in links:
        app, _, model = rows.rpartition("_")
        if user.has_perm(f"{app}.{action}_{model}"):
            shown.append(Link(label, reverse(f"admin:{rows}_{page}")))
    return shown
