"""The Hugging Face Hub: which files a model has, and where its cache keeps them.

huggingface_hub asks the hub, and says where things lie. The bytes are fetched by
transfer.py: what huggingface_hub begins, no later process goes on with (2.4.0 names its
partial files by a number drawn at random, and removes them when it fails).
"""

import os
import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import (
    HfApi,
    ModelInfo,
    constants,
    get_hf_file_metadata,
    get_token,
    hf_hub_url,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name

from models_app.downloads.choosing import RepoFile, choose, is_safe, variants
from models_app.downloads.control import Control, TryAgainError
from models_app.downloads.files import GIT, SHA256, Digest, Plan, RemoteFile
from models_app.downloads.http import RETRIED, after_s, read_timeout_s, without_user
from models_app.downloads.references import Reference
from models_app.errors import (
    GatedError,
    OfflineError,
    UnknownReferenceError,
    UnsupportedDownloadError,
)
from models_app.huggingface import hub_cache
from models_app.scanned import HUGGINGFACE

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")
_HUB: Final = "https://huggingface.co"
_TRUE: Final = frozenset({"1", "ON", "YES", "TRUE"})  # as huggingface_hub reads them
_STRANGER: Final = "Invalid username or password"  # said of repos that are not there

T = TypeVar("T")


def endpoint() -> str:
    """Return the address of the hub, as it is asked.

    Raises:
        UnsupportedDownloadError: HF_ENDPOINT is none.
    """
    value = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
    try:
        parts = urlsplit(value)
        is_site = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # half an IPv6 address, or a port that is none
        is_site = False
    if not is_site:
        # Before the @ may be a password.
        msg = (
            f"HF_ENDPOINT={value.rpartition('@')[2]!r} is no address. Set it to one such as "
            f"{_HUB}, or unset it, and restart MAGI."
        )
        raise UnsupportedDownloadError(msg)
    return value.rstrip("/")


def endpoint_shown() -> str:
    """Return the address of the hub, as people may see it."""
    return without_user(endpoint())


def require_online(what: str) -> None:
    """Raise OfflineError where somebody has set HF_HUB_OFFLINE."""
    values = (os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    if constants.is_offline_mode() or any(value.upper() in _TRUE for value in values):
        msg = f"{what} cannot be asked for: HF_HUB_OFFLINE is set. Unset it, and ask again."
        raise OfflineError(msg)


def gated_text(repo: str) -> str:
    return (
        f"{repo} is gated or private, or there is none of that name. Accept its licence on "
        f"{endpoint_shown()}/{repo}, set HF_TOKEN to a token that may read it, restart MAGI, "
        "and ask again."
    )


def hub_plan(reference: Reference, revision: str, control: Control) -> Plan:
    """Return what is to be fetched of a repo.

    Raises:
        UnknownReferenceError, GatedError, NoQuantError, OfflineError, UnavailableError
        UnsupportedDownloadError: it has no model for llama-server, or no hashes.
    """
    repo = reference.repo
    require_online(repo)
    hub = Hub(control, repo, revision)
    commit, files = hub.listing()
    chosen, note = choose(variants(files), reference.tag, repo)
    details = [hub.complete(file) for file in chosen.all_files]
    commit = commit or hub.commit_seen
    if not _COMMIT.fullmatch(commit):
        msg = f"The hub does not tell which commit of {repo} that is. Is HF_ENDPOINT a hub?"
        raise UnsupportedDownloadError(msg)
    folder = hub_cache() / repo_folder_name(repo_id=repo, repo_type="model")
    remote = tuple(_remote(hub, folder, commit, file) for file in details)

    def place() -> list[Path]:
        links = [link(folder, commit, file.path, one.blob)
                 for file, one in zip(details, remote, strict=True)]  # fmt: skip
        write_ref(folder, revision or "main", commit)
        return links

    return Plan(
        files=remote,
        root=hub_cache(),
        root_kind=HUGGINGFACE,
        commit=commit,
        note=note,
        place=place,
        token=get_token() or "",
    )


class Hub:
    """What the hub says of one repo, asked for as often as it takes."""

    def __init__(self, control: Control, repo: str, revision: str) -> None:
        self.control = control
        self.repo = repo
        self.revision = revision
        self.api = HfApi(endpoint=endpoint())
        self.commit_seen = ""

    def listing(self) -> tuple[str, list[RepoFile]]:
        """Return the commit, and the files that are in it."""
        info: ModelInfo = self._asked(
            lambda: self.api.model_info(
                self.repo,
                revision=self.revision or None,
                files_metadata=True,
                timeout=read_timeout_s(),
            )
        )
        files = [
            RepoFile(
                path=str(sibling.rfilename),
                size_bytes=sibling.size,
                sha256=str(sibling.lfs.sha256) if sibling.lfs else "",
                git_sha1=str(sibling.blob_id or ""),
            )
            for sibling in info.siblings or ()
        ]
        return info.sha or "", files

    def complete(self, file: RepoFile) -> RepoFile:
        """Return `file` with its size and its hash, asked for by itself if need be."""
        if file.size_bytes is not None and file.sha256:
            return file
        head = self._asked(
            lambda: get_hf_file_metadata(
                self.url(file.path, self.revision or "main"),
                timeout=read_timeout_s(),
                endpoint=endpoint(),
            )
        )
        self.commit_seen = self.commit_seen or head.commit_hash or ""
        etag = (head.etag or "").lower()
        return replace(
            file,
            size_bytes=head.size if file.size_bytes is None else file.size_bytes,
            sha256=etag if _SHA256.fullmatch(etag) else file.sha256,
            git_sha1=etag if _SHA1.fullmatch(etag) else file.git_sha1,
        )

    def url(self, path: str, revision: str) -> str:
        return hf_hub_url(self.repo, path, revision=revision, endpoint=endpoint())

    def _asked(self, ask: Callable[[], T]) -> T:
        return self.control.patiently(lambda: self._ask(ask), endpoint_shown())

    def _ask(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except OfflineModeIsEnabled as error:
            raise OfflineError(str(error)) from error
        except RevisionNotFoundError as error:
            msg = f"{self.repo} has no revision {self.revision}. Its page lists those it has."
            raise UnknownReferenceError(msg) from error
        except GatedRepoError as error:
            raise GatedError(gated_text(self.repo)) from error
        except HfHubHTTPError as error:
            raise _translated(error, self.repo) from error
        except HFValidationError as error:
            raise UnknownReferenceError(str(error)) from error
        except httpx2.RequestError as error:
            raise TryAgainError(str(error) or type(error).__name__) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            msg = (
                f"{endpoint_shown()} does not answer as a hub does. Is HF_ENDPOINT right, and "
                "is nothing between that asks for a sign-in?"
            )
            raise UnsupportedDownloadError(msg) from error


def _translated(error: HfHubHTTPError, repo: str) -> Exception:
    response = error.response
    status = response.status_code
    said = response.headers.get("X-Error-Message", "")
    code = response.headers.get("X-Error-Code", "")
    is_missing = isinstance(error, RepositoryNotFoundError) and (
        code == "RepoNotFound" or _STRANGER in said
    )
    if status in RETRIED:
        return TryAgainError(f"{status} for {repo}", after_s=after_s(response))
    if is_missing or status == httpx2.codes.NOT_FOUND:
        return UnknownReferenceError(
            f"{endpoint_shown()} has no {repo} that we may see. Mind the spelling; if it is "
            "private, set HF_TOKEN, restart MAGI, and ask again."
        )
    if status in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
        return GatedError(gated_text(repo))
    return UnsupportedDownloadError(f"{endpoint_shown()} answers {status} for {repo}.")


def _remote(hub: Hub, folder: Path, commit: str, file: RepoFile) -> RemoteFile:
    sha256, git_sha1 = file.sha256.lower(), file.git_sha1.lower()
    if not isinstance(file.size_bytes, int) or file.size_bytes < 0:
        msg = f"The hub does not tell how large {file.path} is, so it is not fetched."
        raise UnsupportedDownloadError(msg)
    if _SHA256.fullmatch(sha256):
        digest = Digest(SHA256, sha256)
    elif _SHA1.fullmatch(git_sha1):
        digest = Digest(GIT, git_sha1)
    else:
        msg = f"The hub tells no hash of {file.path}, so it could not be checked. Not fetched."
        raise UnsupportedDownloadError(msg)
    blob = folder / "blobs" / digest.value
    return RemoteFile(
        name=file.path,
        url=hub.url(file.path, commit),
        size_bytes=file.size_bytes,
        digest=digest,
        blob=blob,
        partial=blob.with_name(f"{blob.name}.incomplete"),
    )


def link(folder: Path, commit: str, path: str, blob: Path) -> Path:
    """Have the commit's snapshot point to a blob, as huggingface_hub does."""
    if not is_safe(path):
        msg = f"{path!r} would lie outside its folder."
        raise UnsupportedDownloadError(msg)
    there = folder / "snapshots" / commit / path
    there.parent.mkdir(parents=True, exist_ok=True)
    target = os.path.relpath(blob, there.parent)
    if not (there.is_symlink() and there.readlink() == Path(target)):
        spare = there.with_name(f".{uuid.uuid4().hex[:12]}")
        spare.symlink_to(target)
        spare.replace(there)
    return there


def write_ref(folder: Path, revision: str, commit: str) -> None:
    """Have a branch or a tag stand at a commit."""
    if revision == commit:
        return
    ref = folder / "refs" / revision
    with suppress(OSError, ValueError):
        if ref.read_text() == commit:
            return  # as in a cache that is mounted read-only, and has all of it
    ref.parent.mkdir(parents=True, exist_ok=True)
    spare = ref.with_name(f".{uuid.uuid4().hex[:12]}")
    spare.write_text(commit)
    spare.replace(ref)
