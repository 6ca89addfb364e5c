"""What a request wishes for: a name, the tier of `auto`, and the conversation it is of."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple

# Below so many characters a prompt is read again as fast as it is found in a cache.
PROMPT_CHARS: Final = 512
_HASHED_CHARS: Final = 1024  # of a text, from its beginning and from its end
_MAX_MESSAGES: Final = 16  # that are looked at for the first one of a user
_MAX_PARTS: Final = 16  # of a message
_SYSTEM_ROLES: Final = ("system", "developer")


class Prefix(NamedTuple):
    """What a conversation keeps from one request to the next: its beginning, hashed."""

    key: int  # of this process only: Python salts its hashes
    is_new: bool = False  # nobody has answered in it yet, so no server has its cache


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request asks for, as far as the choice of its server goes."""

    name: str  # as the client gave it: a model id, an alias, a tier, or auto
    tier: str | None = None  # of `auto`: what its complexity came to
    prefix: Prefix | None = None  # as `prefix_key` has it


def prefix_key(path: str, values: Mapping[str, Any]) -> Prefix | None:
    """Return what the requests of one conversation have in common.

    That is what the system and the user say first. Of each text the length and 2,048
    characters are hashed, so an image of megabytes costs no more than a word.

    Args:
        path: of the request, such as /v1/chat/completions.
        values: the top level of its body, parsed, of whatever types a client sends.

    Returns:
        None where no cache is worth a detour: other paths, a short prompt, or a body
        that llama-server will refuse.
    """
    match path:
        case "/v1/chat/completions" | "/v1/messages":
            return _conversation(values.get("system"), values.get("messages"))
        case "/v1/responses":
            return _conversation(values.get("instructions"), values.get("input"))
        case "/v1/completions":
            return _prompt(values.get("prompt"))
    return None


def _prompt(prompt: object) -> Prefix | None:
    if not isinstance(prompt, str) or len(prompt) < PROMPT_CHARS:
        return None
    return Prefix(hash(prompt[:PROMPT_CHARS]))


def _conversation(system: object, messages: object) -> Prefix | None:
    """Return the key of a conversation; one that is a mere text has just begun."""
    if isinstance(messages, str):
        return Prefix(hash((*_texts(system), *_texts(messages))), is_new=True)
    if not isinstance(messages, list):
        return None
    beginning = list(_texts(system))
    for number, message in enumerate(messages[:_MAX_MESSAGES]):
        if not isinstance(message, dict):
            return None
        role = message.get("role")
        if role == "user":
            beginning += _texts(message.get("content"))
            return Prefix(hash(tuple(beginning)), is_new=number == len(messages) - 1)
        if role in _SYSTEM_ROLES:
            beginning += _texts(message.get("content"))
    return None


def _texts(content: object) -> Iterator[tuple[int, str, str]]:
    """Yield the length and the ends of a content's text, or of each text in its parts."""
    if isinstance(content, str):
        yield len(content), content[:_HASHED_CHARS], content[-_HASHED_CHARS:]
    elif isinstance(content, list):
        for part in content[:_MAX_PARTS]:
            if isinstance(part, dict):
                for value in islice(part.values(), _MAX_PARTS):
                    yield from _texts(_inner(value))


def _inner(value: object) -> object:
    """Return a text, or that of an image: {"image_url": {"url": "data:..."}}."""
    if isinstance(value, dict):
        return next((inner for inner in value.values() if isinstance(inner, str)), None)
    return value if isinstance(value, str) else None
