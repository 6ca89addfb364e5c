"""New profiles out of templates: `config/templates/*.yaml`, or another profile."""

from collections.abc import Sequence
from pathlib import Path

from django.conf import settings

from profiles_app.document import written
from profiles_app.errors import ProfileNotFoundError
from profiles_app.files import yaml_of
from profiles_app.models import Profile
from profiles_app.reading import read_profile
from profiles_app.rows import as_document
from profiles_app.serializers import defaults
from profiles_app.services import save_document, save_yaml, slug_of
from profiles_app.yamltext import rewrite_yaml


def template_names() -> list[str]:
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def new_profile(
    name: str, *, source: str = "", models: Sequence[str] = (), author: str = ""
) -> Profile:
    """Make a profile called `name`.

    Args:
        source: a template, or a profile, that it is like, comments and all; without one,
            it has the defaults.
        models: ids to enable instead of those of the source.

    Raises:
        ProfileNotFoundError: there is no such source; the message lists those there are.
        ProfileExistsError, ProfileInvalidError: as save_document.
    """
    if not source:
        document = {"name": name, "enabled_models": list(models)}
        return save_document(document, author=author, is_new=True)
    text = renamed(_text(source), name, models=models)
    return save_yaml(text, slug=slug_of(name), author=author, is_new=True)


def copy_profile(profile: Profile, name: str, *, author: str = "") -> Profile:
    """Make a profile called `name` that is like `profile`, comments and all.

    Raises:
        ProfileExistsError, ProfileInvalidError: as save_document.
    """
    text = renamed(yaml_of(profile), name)
    return save_yaml(text, slug=slug_of(name), author=author, is_new=True)


def renamed(text: str, name: str, *, models: Sequence[str] = ()) -> str:
    """Return a profile's text with another name in it, and other models if some are given.

    Raises:
        ProfileInvalidError: the text is no profile.
    """
    read = read_profile(text, slug="")
    document = {**read.document, "name": name}
    if models:
        document["enabled_models"] = list(models)
    base = as_document(read.parent) if read.parent else defaults()
    shortest = written(document, base=base, before=read.document, text=read.data)
    return rewrite_yaml(read.text, shortest)


def _text(source: str) -> str:
    names = template_names()
    if source in names:
        return (_folder() / f"{source}.yaml").read_text()
    profile = Profile.objects.select_related("extends").filter(slug=source).first()
    if profile is None:
        slugs = Profile.objects.values_list("slug", flat=True)
        raise ProfileNotFoundError(source, [*names, *slugs])
    return yaml_of(profile)


def _folder() -> Path:
    return Path(settings.BASE_DIR) / "config" / "templates"
