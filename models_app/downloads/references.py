"""What somebody asks for, taken apart: `org/repo:QUANT` of a hub, or `name:tag` of Ollama's."""

import re
from dataclasses import dataclass
from typing import Final

from models_app.errors import InvalidReferenceError

HUB: Final = "hub"
OLLAMA: Final = "ollama"
MAX_CHARS: Final = 300

_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_HUB_HOSTS = ("huggingface.co/", "hf.co/")
_OLLAMA_HOSTS = ("registry.ollama.ai/", "ollama.com/")
# As huggingface_hub's validate_repo_id has them: no two dots or dashes together.
_REPO_PART = r"(?!.*(?:--|\.\.))[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}(?<![.-])"
_HUB = re.compile(
    rf"(?P<repo>{_REPO_PART}/{_REPO_PART})(?::(?P<quant>[A-Za-z0-9][\w.+-]{{0,119}}))?",
    re.ASCII,
)
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"  # as models_app/ollama.py reads them
_OLLAMA = re.compile(
    rf"(?:(?P<namespace>{_PART})/)?(?P<name>{_PART})(?::(?P<tag>{_PART}))?", re.ASCII
)
_REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_./-]{0,99}(?<![./])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reference:
    """A model by its name at a hub; its text is what the same model is always called."""

    source: str
    repo: str  # org/repo, or namespace/name
    tag: str  # the quantization that is asked for, empty for the usual one; or Ollama's tag

    def __str__(self) -> str:
        if self.source == HUB:
            return f"{self.repo}:{self.tag}" if self.tag else self.repo
        return f"{self.repo.removeprefix('library/')}:{self.tag}"


def parse_reference(text: str, *, source: str = "") -> Reference:
    """Take apart what somebody asks for.

    Args:
        source: `hub` or `ollama`; empty: by the text. What has a `/` is the hub's.

    Raises:
        InvalidReferenceError: it is a path, has other characters, or names nothing.

    >>> str(parse_reference("hf.co/Qwen/Qwen3-4B-GGUF:q8_0"))
    'Qwen/Qwen3-4B-GGUF:Q8_0'
    >>> str(parse_reference("qwen3"))
    'qwen3:latest'
    """
    asked = text.strip()
    if len(asked) > MAX_CHARS:
        raise InvalidReferenceError(
            asked[:40] + "…", f"it is longer than {MAX_CHARS} characters"
        )
    if source not in ("", HUB, OLLAMA):
        raise InvalidReferenceError(asked, f"{source[:20]!r} is no source; use hub or ollama")
    name = _SCHEME.sub("", asked, count=1)
    if bare := _after(name, _HUB_HOSTS):
        return _hub(asked, bare)
    if bare := _after(name, _OLLAMA_HOSTS):
        return _ollama(asked, bare)
    if name != asked:
        raise InvalidReferenceError(
            asked, "only addresses of Hugging Face and Ollama are known"
        )
    if name.startswith(("/", ".", "~", "\\")):
        raise InvalidReferenceError(asked, "it is a path")
    if source == HUB or (not source and "/" in name):
        return _hub(asked, name)
    return _ollama(asked, name)


def checked_revision(text: str) -> str:
    """Return a branch, a tag or a commit as it is written; empty for none.

    Raises:
        InvalidReferenceError: it is no name that a branch could have.
    """
    revision = text.strip()
    if revision and not _REVISION.fullmatch(revision):
        raise InvalidReferenceError(revision[:100], "it is no branch, tag or commit")
    return revision


def _after(name: str, hosts: tuple[str, ...]) -> str:
    for host in hosts:
        if name.lower().startswith(host):
            return name[len(host) :]
    return ""


def _hub(asked: str, name: str) -> Reference:
    match = _HUB.fullmatch(name.rstrip("/"))
    if match is None:
        raise InvalidReferenceError(asked, "a repo is org/repo, of letters, digits, -, _ and .")
    quant = match["quant"] or ""
    return Reference(HUB, match["repo"], quant if quant.endswith(".gguf") else quant.upper())


def _ollama(asked: str, name: str) -> Reference:
    match = _OLLAMA.fullmatch(name)
    if match is None:
        raise InvalidReferenceError(asked, "a name is of letters, digits, -, _ and .")
    repo = f"{match['namespace'] or 'library'}/{match['name']}"
    return Reference(OLLAMA, repo, match["tag"] or "latest")
