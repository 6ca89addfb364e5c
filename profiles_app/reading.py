"""From a profile's text to what it comes to: YAML, variables, `extends`, bounds."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from profiles_app.document import Document, flat, merge
from profiles_app.errors import Problem, ProfileInvalidError
from profiles_app.models import Profile
from profiles_app.rows import as_document
from profiles_app.serializers import ProfileSerializer, problems_of
from profiles_app.variables import path_text, substitute
from profiles_app.yamltext import read_yaml

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """A text that is a profile."""

    text: str
    data: Mapping[str, Any]  # as it stands there
    lines: Mapping[Path, int]
    document: Document  # what it comes to, every default in it
    parent: Profile | None


def read_profile(text: str, *, slug: str) -> Reading:
    """Read a profile's YAML, in the flat or the nested form of the seeds.

    Args:
        slug: of the profile that it is of: it may not extend itself.

    Raises:
        ProfileInvalidError: it is no profile; all problems at once, with their lines.
    """
    read = read_yaml(text)
    data, missing = substitute(
        read.data, allowed=settings.MAGI_PROFILE_VARIABLES, environ=os.environ
    )
    problems = [_problem(read.lines, path, message) for path, message in missing]
    # `enabled_models:` with nothing behind it says nothing.
    own = {key: value for key, value in flat(data).items() if value is not None}
    if slug and own.get("name") is None:
        own["name"] = slug.replace("-", " ").title()  # as the file is called
    parent, why_not = find_parent(own.get("extends"), slug)
    if why_not:
        problems.append(_problem(read.lines, ("extends",), why_not))
    whole = merge(as_document(parent), own) if parent else own
    serializer = ProfileSerializer(data=whole, context={"is_yaml": True})
    if not serializer.is_valid():
        known = {problem.path for problem in problems}
        for path, message in problems_of(serializer.errors):
            problem = _problem(read.lines, path, message)
            if problem.path not in known:  # a variable that is not set is no wrong value
                problems.append(problem)
    if problems:
        raise ProfileInvalidError(sorted(problems, key=lambda problem: problem.line or 0))
    return Reading(text, read.data, read.lines, serializer.validated_data, parent)


def find_parent(extends: object, slug: str) -> tuple[Profile | None, str]:
    """Return the profile that `slug` may extend, or why it may not."""
    if extends is None or not isinstance(extends, str):
        return None, ""
    parent = Profile.objects.select_related("extends").filter(slug=extends).first()
    if parent is None and extends != slug:
        there = ", ".join(Profile.objects.exclude(slug=slug).values_list("slug", flat=True))
        return None, f"There is no profile '{extends}'. Available: {there or 'none'}"
    chain, ancestor = [slug], parent
    while ancestor is not None and ancestor.slug not in chain:
        chain.append(ancestor.slug)
        ancestor = ancestor.extends
    if extends == slug or (ancestor is not None and ancestor.slug == slug):
        return None, f"A circle: {' extends '.join([*chain, slug])}."
    return parent, ""


def line_of(lines: Mapping[Path, int], path: Path) -> int | None:
    """Return the line of what `path` names, or of the nearest thing around it."""
    for start in (path, ("profile", *path)):
        here = start
        while here:
            if here in lines:
                return lines[here]
            here = here[:-1]
    return None


def _problem(lines: Mapping[Path, int], path: Iterable[str | int], message: str) -> Problem:
    where = tuple(path)
    return Problem(line_of(lines, where), path_text(where), message)
