"""Which model somebody means: by its id, an alias, or what a hub or Ollama calls it."""

import difflib
from collections.abc import Callable
from typing import Final

from django.db.models import Q, QuerySet

from models_app.download_models import Download, DownloadSource, DownloadState
from models_app.downloads.choosing import is_meant
from models_app.downloads.references import parse_reference
from models_app.errors import InvalidReferenceError
from models_app.integrity import is_spoilt
from models_app.models import DiscoveredModel
from models_app.version_page import pull_reference
from profiles_app.models import ProfileMember
from servers_app.errors import AmbiguousNameError, NotLaunchableError, UnknownNameError

MAX_NAME_CHARS: Final = 300
MAX_NAMED: Final = 10
Found = QuerySet[DiscoveredModel]

_OLLAMA: Final = "ollama:"  # begins the identity of a model in an Ollama store


def name_of(model: DiscoveredModel) -> str:
    """Return what a model is called at /ai: `mistral:7b` if it is Ollama's, else its id."""
    return model.repo_id if model.identity.startswith(_OLLAMA) else model.model_id


def resolve(name: str) -> DiscoveredModel:
    """Return the model that goes by a name.

    In this order: a model id, an alias of the active profile, Ollama's name (`mistral:7b`;
    `mistral` is `mistral:latest`, or the only tag), a repo of the hub (`org/repo:QUANT`, or
    `org/repo` where one quantization of it is here), a display name, a file name, what its
    download was asked for as. The first of these that finds something decides. In all but an
    id and an alias, case does not matter.

    Raises:
        UnknownNameError: no model goes by it; the message says what there is.
        AmbiguousNameError: several do; the message names their ids.
    """
    if not 0 < len(name) <= MAX_NAME_CHARS or "\0" in name:
        raise unknown(name)
    for find in _FINDERS:
        found = find(name)
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(model.model_id for model in found[:MAX_NAMED])
            more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
            msg = f"{name!r} may be any of {len(found)} models: {ids}{more}. Give an id."
            raise AmbiguousNameError(msg)
    raise unknown(name)


def unknown(name: str) -> UnknownNameError:
    """Return the error for a name that no model goes by, with what there is instead."""
    shown = name[:100]
    rows = DiscoveredModel.objects.filter(is_missing=False)
    names = sorted(map(name_of, rows.only("model_id", "identity", "repo_id")))
    if not names:
        there = "No model is registered yet."
    elif len(names) <= MAX_NAMED:
        there = f"Available: {', '.join(names)}."
    elif close := difflib.get_close_matches(name, names, n=MAX_NAMED):
        there = f"Nearest among {len(names)}: {', '.join(close)}."
    else:
        there = f"Nothing among {len(names)} is like it."
    return UnknownNameError(f"Model not found: {shown}. {there}")


def may_be_pulled(name: str) -> bool:
    """Whether a hub could be asked for it: `org/repo:QUANT`, or Ollama's `name:tag`."""
    try:
        parse_reference(name)
    except InvalidReferenceError:
        return False
    return True


def is_whole(model: DiscoveredModel) -> bool:
    """Whether nothing of a model is to be fetched again, as far as anybody has looked.

    Of spoilt files that came from nowhere there are no others.
    """
    return model.is_launchable and not (model.repo_id and is_spoilt(model))


def origin_of(model: DiscoveredModel) -> str:
    """Return by what name a model is fetched again whose files are not all here.

    Raises:
        NotLaunchableError: nobody knows where it came from.
    """
    if not model.repo_id:
        why = model.problem or "its file is missing"
        msg = (
            f"{model.model_id} cannot be used: {why}. Nobody knows where it came from: put its "
            "files back, or give its name at a hub."
        )
        raise NotLaunchableError(msg)
    return pull_reference(model)


def _here() -> QuerySet[DiscoveredModel]:
    return DiscoveredModel.objects.select_related("root").filter(is_missing=False)


def _by_id(name: str) -> Found:
    """Return the model of an id; one whose file is missing, too, to be told of that."""
    return DiscoveredModel.objects.select_related("root").filter(model_id=name)


def _by_alias(name: str) -> Found:
    members = ProfileMember.objects.filter(profile__is_active=True)
    aliased = [
        id_ for id_, names in members.values_list("model_id", "aliases") if name in names
    ]
    return _here().filter(model_id__in=aliased[:1])


def _by_ollama(name: str) -> Found:
    rows = _here().filter(identity__startswith=_OLLAMA)
    if as_listed := rows.filter(repo_id__iexact=name):
        return as_listed  # hf.co/org/repo:QUANT, too, which Ollama fetched from the hub
    try:
        tag = str(parse_reference(name, source=DownloadSource.OLLAMA))
    except InvalidReferenceError:
        return _here().none()
    exact = rows.filter(repo_id__iexact=tag)
    if ":" in name or exact:
        return exact
    return rows.filter(repo_id__istartswith=f"{tag.partition(':')[0]}:")


def _by_repo(name: str) -> Found:
    try:
        asked = parse_reference(name, source=DownloadSource.HUB)
    except InvalidReferenceError:
        return _here().none()
    rows = _here().filter(repo_id__iexact=asked.repo)
    if not asked.tag:
        return rows
    # As a download of it would choose: F16 is not BF16, though that ends with it.
    meant = [
        model.pk
        for model in rows
        if is_meant(asked.tag, quantization=model.quantization, filename=model.filename)
    ]
    return rows.filter(pk__in=meant)


def _by_display_name(name: str) -> Found:
    return _here().filter(display_name__iexact=name)


def _by_filename(name: str) -> Found:
    return _here().filter(Q(filename__iexact=name) | Q(filename__iexact=f"{name}.gguf"))


def _by_download(name: str) -> Found:
    """Return what was fetched by that name: of two tags with one file a scan keeps one."""
    try:
        asked = parse_reference(name)
    except InvalidReferenceError:
        return _here().none()
    done = Download.objects.filter(
        state=DownloadState.FINISHED, source=asked.source, reference__iexact=str(asked)
    )
    newest = done.order_by("-asked_at", "-pk").values("model")[:1]
    return _here().filter(pk__in=newest)


_FINDERS: Final[tuple[Callable[[str], Found], ...]] = (
    _by_id, _by_alias, _by_ollama, _by_repo, _by_display_name, _by_filename, _by_download,
)  # fmt: skip
