"""The files of a repo as the hub lists them now, for somebody who waits for the answer."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from models_app.downloads import hub
from models_app.downloads.choosing import RepoFile
from models_app.downloads.control import Control, TryAgainError
from models_app.downloads.references import HUB, checked_revision, parse_reference
from models_app.errors import InvalidReferenceError, UnavailableError

T = TypeVar("T")


class Listing(NamedTuple):
    repo: str
    commit: str
    files: list[RepoFile]


class Once(Control):
    """Tries nothing again: whoever waits at a screen asks again themselves."""

    def patiently(
        self,
        attempt: Callable[[], T],
        what: str,
        hint: str = "Behind a proxy, set HTTPS_PROXY; for another hub, HF_ENDPOINT.",
    ) -> T:
        try:
            return attempt()
        except TryAgainError as error:
            msg = f"{what} does not answer as it should: {error}. Ask again later. {hint}"
            raise UnavailableError(msg) from error


def list_repo(repo: str, revision: str = "") -> Listing:
    """Return what a repo has, at its main branch or another revision.

    Raises:
        InvalidReferenceError, UnknownReferenceError, GatedError, OfflineError
        UnavailableError, UnsupportedDownloadError
    """
    asked = parse_reference(repo, source=HUB)
    if asked.tag:
        raise InvalidReferenceError(
            repo, "that names one quantization; leave out the part after :"
        )
    hub.require_online(asked.repo)
    commit, files = hub.Hub(Once(), asked.repo, checked_revision(revision)).listing()
    return Listing(asked.repo, commit, files)
